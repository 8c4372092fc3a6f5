//! Imagenette: photos of ten ImageNet classes that are easy to distinguish.
//!
//! Its archives hold `train/` and `val/` with a folder for each class, named by its WordNet ID.

use std::path::PathBuf;

use super::place::Places;
use super::{Dataset, Request, folder};
use crate::Result;
use crate::base::hint::{Hint, message};

/// WordNet IDs and class names.
const CLASSES: [(&str, &str); 10] = [
    ("n01440764", "tench"),
    ("n02102040", "English springer"),
    ("n02979186", "cassette player"),
    ("n03000684", "chain saw"),
    ("n03028079", "church"),
    ("n03394916", "French horn"),
    ("n03417042", "garbage truck"),
    ("n03425413", "gas pump"),
    ("n03445777", "golf ball"),
    ("n03888257", "parachute"),
];

/// Its folders, from the first of `places` that has them.
pub(super) fn find(name: &str, places: &Places) -> Result<Vec<PathBuf>> {
    let unpacked = name.replace("imagenette", "imagenette2");
    let fetch = Hint::Command(format!("data fetch {name}").into(), Vec::new());
    let advice = message![fetch, " gets it"];
    places.find(name, &[&unpacked], &["train", "val"], |_| Vec::new(), advice)
}

/// Loads `imagenette-160` or `imagenette-320` from the first of `places` that has it.
pub(super) fn load(request: &Request, places: &Places) -> Result<Dataset> {
    let side = if request.name == "imagenette-160" { 128 } else { 224 };
    let found = find(&request.name, places)?;
    let root = found[0].parent().unwrap_or(&found[0]);
    folder::load(root, request, side, |number| {
        let class = CLASSES.iter().find(|(known, _)| *known == number);
        class.map_or(number, |(_, name)| name).to_owned()
    })
}
