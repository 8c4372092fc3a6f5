//! `sff inspect`.

use std::path::PathBuf;

use crate::Result;
use crate::app::folder;
use crate::app::inspect::{self, Inspection, TensorInfo};
use clap::Args;

#[derive(Args)]
#[command(before_help = "Examples:
  sff inspect runs/first/model.safetensors
  sff inspect --run runs/first --json")]
pub struct Inspect {
    #[command(flatten)]
    model: Which,
    /// Print JSON: image, classes, blocks with their tensors, parameters, options, the run's last test
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Model file: the model.safetensors of a run, or a model made by `sff import`
    #[arg(value_name = "MODEL")]
    file: Option<PathBuf>,
    /// Run folder
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
}

impl Inspect {
    pub fn run(self) -> Result<()> {
        let of_run = self.model.run.as_deref().map(folder::find_model).transpose()?;
        let path = of_run.or(self.model.file).unwrap_or_default();
        let inspection = inspect::inspect(&path)?;
        if self.json {
            return super::print_json(&inspection);
        }
        super::print(&text(&inspection)?)
    }
}

fn text(of: &Inspection) -> Result<String> {
    let Inspection { file, image: [h, w, c], classes, blocks, reached, .. } = of;
    let mut out = format!("{file}\nimages      {h}×{w}×{c}\nclasses     {}", classes.len());
    let names = classes.join(", ");
    // Many names are left to --json.
    if classes.len() <= 20 {
        out.push_str(&format!(": {names}"));
    }
    out.push_str(&format!(
        "\nparameters  {} in {} blocks, {} of them in heads\n",
        of.parameters,
        blocks.len(),
        of.head_parameters
    ));
    let shown = |tensor: &TensorInfo| {
        tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
    };
    let tensors = || blocks.iter().flat_map(|block| &block.tensors);
    let width = tensors().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    let wide = tensors().map(|tensor| shown(tensor).chars().count()).max().unwrap_or(0);
    for (index, block) in blocks.iter().enumerate() {
        out.push_str(&format!("\n{}: {} parameters", block.name, block.parameters));
        if let Some(reached) = reached {
            let (accuracy, loss) = (reached.test.blocks[index], reached.test.losses[index]);
            out.push_str(&format!(", accuracy {}, loss {loss:.4}", super::percent(accuracy)));
        }
        for tensor in &block.tensors {
            let values: usize = tensor.shape.iter().product();
            let what = match (tensor.head, tensor.statistic) {
                (true, _) => "  head",
                (_, true) => "  statistic",
                _ => "",
            };
            let name = &tensor.name;
            out.push_str(&format!("\n  {name:width$}  {:wide$}  {values:>9}{what}", shown(tensor)));
        }
        out.push('\n');
    }
    if let Some(reached) = reached {
        let [all, late, last] =
            [reached.test.accuracy.all, reached.test.accuracy.late, reached.test.accuracy.last]
                .map(super::percent);
        out.push_str(&format!(
            "\nafter epoch {}, on {} test images: vote all {all}, late {late}, last {last}\n",
            reached.epochs, reached.test.images
        ));
    }
    out.push_str("\ntrained with\n");
    for line in of.options()?.lines() {
        out.push_str(&format!("  {line}\n"));
    }
    Ok(out.trim_end().to_owned())
}
