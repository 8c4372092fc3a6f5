//! Rendering of pages in a headless Chromium.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

/// Time limit for a page; software rendering on a busy machine is slow.
const TIMEOUT: Duration = Duration::from_secs(180);

const OPTIONS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A script that measures the page in each frame and writes the results into the element `found`,
/// as JSON in base64, which needs no escaping in HTML.
const MEASURE: &str = r#"
function measure(frame) {
  const view = frame.contentWindow, doc = frame.contentDocument, width = frame.clientWidth;
  const all = selector => [...doc.querySelectorAll(selector)];
  const box = element => element.getBoundingClientRect();
  const scrolls = element => element.closest('.scroll, pre') !== null;
  const shown = element => element.checkVisibility();
  const name = element => element.tagName + ' ' + element.textContent.slice(0, 40);
  const svgs = all('svg[role=img]').filter(shown);
  const texts = svgs.flatMap(svg => [...svg.querySelectorAll('text')].map(text => [svg, text]));
  const outside = ([svg, text]) => {
    const [a, b] = [box(svg), box(text)];
    return b.left < a.left - 2 || b.right > a.right + 2 || b.top < a.top - 4 || b.bottom > a.bottom + 2;
  };
  return {
    width,
    scroll: doc.documentElement.scrollWidth,
    wide: all('body *').filter(e => shown(e) && !scrolls(e) && box(e).right > width + 1).map(name),
    clipped: texts.filter(outside).map(([, text]) => name(text)),
    tiny: texts.filter(([, text]) => text.textContent && box(text).height < 9).map(([, text]) => name(text)),
    headings: all('h1, h2').map(e => e.textContent),
    empty: all('section').filter(e => box(e).height < 80).map(name),
    figures: svgs.length,
    unnamed: svgs.filter(svg => !svg.getAttribute('aria-label')).length,
    pictures: all('img').length,
    broken: all('img').filter(img => !img.complete || img.naturalWidth === 0 || !img.alt).map(img => img.alt),
    foreign: all('script, link, iframe, object, embed').map(name),
    sources: all('[src], [href]').map(e => e.getAttribute('src') || e.getAttribute('href')).filter(s => !s.startsWith('data:')),
    rows: all('.matrix th[scope=row]').map(e => e.textContent),
    hits: all('.matrix td.hit').map(e => e.textContent),
    cells: all('.matrix td').map(e => e.textContent),
    text: doc.body.innerText,
    ink: view.getComputedStyle(doc.body).color,
  };
}
onload = () => {
  const bytes = new TextEncoder().encode(JSON.stringify([...document.querySelectorAll('iframe')].map(measure)));
  document.getElementById('found').textContent = btoa(Array.from(bytes, b => String.fromCharCode(b)).join(''));
};
"#;

/// A browser, and a folder for its files.
pub struct Browser {
    program: PathBuf,
    folder: TempDir,
}

impl Browser {
    /// The installed browser, if any.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let all = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
        let found = all.into_iter().find(|file| file.is_file());
        if found.is_none() {
            // Written directly: a passing test captures the output of `eprintln!`.
            let _ = writeln!(std::io::stderr(), "skipped: no Chromium is installed");
        }
        Some(Self { program: found?, folder: tempfile::tempdir().unwrap() })
    }

    /// The results of [`MEASURE`] for a page in frames of several widths, in pixels.
    pub fn measure(&self, page: &str, widths: &[u32]) -> Vec<Value> {
        let content = page.replace('&', "&amp;").replace('"', "&quot;");
        let frame = |width: &u32| {
            format!(
                "<iframe width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{content}\"></iframe>"
            )
        };
        let frames: String = widths.iter().map(frame).collect();
        let wrapper = format!(
            "<!DOCTYPE html><meta charset=\"utf-8\">{frames}<pre id=\"found\"></pre><script>{MEASURE}</script>"
        );
        let dom = self.run(&wrapper, &["--dump-dom"]);
        let dom = String::from_utf8(dom).unwrap();
        let found = dom.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split('<').next());
        let found = found.filter(|text| !text.is_empty()).expect("the page was measured");
        serde_json::from_slice(&STANDARD.decode(found).unwrap()).unwrap()
    }

    /// A screenshot of the top of a page that is `width` pixels wide.
    pub fn screenshot(&self, page: &str, width: u32, dark: bool) -> RgbImage {
        let path = self.folder.path().join("shot.png");
        // A frame, because a window has a minimum width that is more than a phone's.
        let content = page.replace('&', "&amp;").replace('"', "&quot;");
        let wrapper = format!(
            "<!DOCTYPE html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"><body style=\"margin:0\"><iframe width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{content}\"></iframe>"
        );
        let shot = format!("--screenshot={}", path.display());
        let scheme = format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 });
        let size = format!("--window-size={},900", width.max(600));
        self.run(&wrapper, &[&shot, &scheme, &size]);
        let picture = image::open(&path).expect("a screenshot").into_rgb8();
        fs::remove_file(&path).unwrap();
        let (width, height) = (width.min(picture.width()), picture.height());
        image::imageops::crop_imm(&picture, 0, 0, width, height).to_image()
    }

    /// Opens a page and returns the browser's standard output.
    fn run(&self, page: &str, options: &[&str]) -> Vec<u8> {
        let file = |name: &str| self.folder.path().join(name);
        let (html, out) = (file("page.html"), file("out"));
        fs::write(&html, page).unwrap();
        let profile = tempfile::tempdir_in(self.folder.path()).unwrap();
        let child = Command::new(&self.program)
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(options)
            .arg(format!("file://{}", html.display()))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(file("err")).unwrap())
            .spawn()
            .unwrap();
        wait(child, &file("err"));
        fs::read(&out).unwrap()
    }
}

/// Waits for the browser, and kills it after [`TIMEOUT`].
fn wait(mut child: Child, err: &Path) {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) if status.success() => return,
            None if start.elapsed() < TIMEOUT => sleep(Duration::from_millis(50)),
            status => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the browser failed: {status:?}\n{}", fs::read_to_string(err).unwrap());
            }
        }
    }
}
