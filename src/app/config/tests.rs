use super::*;
use crate::base::bytes::Size;
use crate::net::options::{Precision, Recompute};

#[test]
fn a_configuration_reads_back_as_itself() {
    let recipe = Recipe {
        lr: Some(0.1),
        widths: Some(vec![3, 5, 7]),
        train_limit: Some(500),
        data: Some("some/where".into()),
        memory: Some(Size(1_234_567)),
        recompute: Some(Recompute::Block),
        precision: Some(Precision::F16),
        aux_kernel: Some(3),
        aux_separable: Some(true),
        aux_pool: Some(4),
        aux_scale: Some(Scale::Learnable),
        flip: Some(true),
        random_resized_crop: Some(0.08),
        jitter: Some(0.4),
        cutout: Some(9),
        mixup: Some(0.2),
        image_size: Some(24),
        stem: Some(Stem::Cifar),
        init: Some(Start { path: "a \"b\".safetensors".into(), checksum: Some("0f".into()) }),
        cuts: Some(vec!["block2".into()]),
        freeze_until: Some("block2".into()),
        ..Recipe::default()
    };
    let config = Config::resolve(recipe.clone()).unwrap();
    assert_eq!(config.batch, None);
    let back: Recipe = toml::from_str(&config.to_toml().unwrap()).unwrap();
    assert_eq!(Config::resolve(back).unwrap(), config);
    assert_eq!(config.recipe().over(Recipe::default()), config.recipe());
    assert!(recipe.conflicts(&config).is_empty());
    let other = Recipe { seed: Some(1), lr: Some(0.1), ..Recipe::default() };
    assert_eq!(other.conflicts(&config), ["seed"]);
}

proptest::proptest! {
    #[test]
    fn numbers_read_back_to_the_last_bit(
        lr in 1e-12f32..1e3, weight_decay in 0f32..10.0, seed: u64,
    ) {
        let (lr, weight_decay, seed) = (Some(lr), Some(weight_decay), Some(seed));
        let config = Config::resolve(Recipe { lr, weight_decay, seed, ..Recipe::default() });
        let config = config.unwrap();
        let toml: Recipe = toml::from_str(&config.to_toml().unwrap()).unwrap();
        let json = serde_json::to_string(&config.recipe()).unwrap();
        let json: Recipe = serde_json::from_str(&json).unwrap();
        for recipe in [toml, json] {
            proptest::prop_assert_eq!(recipe, config.recipe());
        }
    }
}

#[test]
fn errors_name_the_wrong_option() {
    let message = |recipe| Config::resolve(recipe).unwrap_err().to_string();
    assert!(message(Recipe { arch: Some("vgg".into()), ..Recipe::default() }).contains("cnn"));
    let bp =
        Recipe { method: Some(Method::Bp), partition: Some(Partition::Layer), ..Recipe::default() };
    assert!(message(bp).contains("--partition"));
    let separable = Recipe { aux_kernel: Some(1), aux_separable: Some(true), ..Recipe::default() };
    assert!(message(separable).contains("--aux-kernel of 3"));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let recipe = Recipe { aux_scale: Some(Scale::Fixed(scale)), ..Recipe::default() };
        assert!(message(recipe).contains("--aux-scale must be above 0"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    for line in ["memory = '5 apples'", "batch = 'many'", "recompute = 'all'"] {
        std::fs::write(&path, format!("epochs = 2\n{line}\n")).unwrap();
        let error = Recipe::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2: ") && !error.contains('\n'), "{error}");
    }
    std::fs::write(&path, "epochs = 2\nlearning-rate = 3\n").unwrap();
    let error = Recipe::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("learning-rate"), "{error}");
}

#[test]
fn help_has_the_right_defaults() {
    let command = <Recipe as clap::Args>::augment_args(clap::Command::new("x"));
    let defaults = Config::resolve(Recipe::default()).unwrap().recipe();
    let serde_json::Value::Object(defaults) = serde_json::to_value(&defaults).unwrap() else {
        panic!("a recipe is a table");
    };
    let mut checked = 0;
    for arg in command.get_arguments() {
        let value = match &defaults[arg.get_long().unwrap()] {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            // Options are f32, which JSON values widen to f64.
            serde_json::Value::Number(number) if number.is_f64() => {
                (number.as_f64().unwrap() as f32).to_string()
            }
            value => value.to_string().trim_matches(['[', ']']).trim_end_matches(".0").to_owned(),
        };
        let help = arg.get_help().unwrap().to_string();
        let Some((_, default)) = help.split_once("[default: ") else { continue };
        let end = default.find([';', ']', ' ']).unwrap();
        assert_eq!(default[..end].trim_end_matches(','), value, "{help}");
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
}
