//! The known data sets, and where their files come from.

/// A data set, as it is published.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What `--dataset` calls it.
    pub name: &'static str,
    /// Number of classes; 0 where the files decide.
    pub classes: usize,
    /// Height, width and channels of an image; `None` for photos, whose sizes differ.
    pub image: Option<[usize; 3]>,
    /// Images to train on.
    pub train: usize,
    /// Images to test with.
    pub test: usize,
    /// Where its files come from, if it has any.
    pub source: Option<Source>,
    /// Its authors, and the licence that they state.
    pub about: &'static str,
}

/// The files of a data set.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Their folder under `datasets`.
    pub folder: &'static str,
    /// Address of the folder that they are downloaded from, ending in `/`.
    pub base: &'static str,
    /// The files to download.
    pub downloads: &'static [Download],
    /// Whether the downloads are gzipped tar archives, which are unpacked.
    pub archives: bool,
    /// Unpacked files with a known MD5.
    pub unpacked: &'static [(&'static str, &'static str)],
}

/// A file to download.
#[derive(Clone, Copy, Debug)]
pub struct Download {
    /// Its name.
    pub file: &'static str,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The published MD5 of its content, in hexadecimal.
    pub md5: &'static str,
}

const fn file(file: &'static str, bytes: u64, md5: &'static str) -> Download {
    Download { file, bytes, md5 }
}

/// All data sets.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "fashion-mnist",
        classes: 10,
        image: Some([28, 28, 1]),
        train: 60_000,
        test: 10_000,
        source: Some(Source {
            folder: "fashion-mnist",
            base: "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            downloads: &[
                file("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                file("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
                file("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
                file("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
            ],
            archives: false,
            unpacked: &[],
        }),
        about: "Zalando Research, MIT licence; github.com/zalandoresearch/fashion-mnist",
    },
    Entry {
        name: "mnist",
        classes: 10,
        image: Some([28, 28, 1]),
        train: 60_000,
        test: 10_000,
        source: Some(Source {
            folder: "mnist",
            // The authors' own server refuses downloads; this mirror is PyTorch's.
            base: "https://ossci-datasets.s3.amazonaws.com/mnist/",
            downloads: &[
                file("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                file("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
                file("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
                file("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
            ],
            archives: false,
            unpacked: &[],
        }),
        about: "Y. LeCun, C. Cortes, C. Burges, no licence stated; yann.lecun.com/exdb/mnist",
    },
    Entry {
        name: "cifar10",
        classes: 10,
        image: Some([32, 32, 3]),
        train: 50_000,
        test: 10_000,
        source: Some(Source {
            folder: "cifar10",
            base: "https://www.cs.toronto.edu/~kriz/",
            downloads: &[file(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c32a1d4ab5d03f1284b67883e8d87530",
            )],
            archives: true,
            unpacked: &[
                ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
                ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
                ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
                ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
                ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
                ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
            ],
        }),
        about: "A. Krizhevsky, no licence stated; cs.toronto.edu/~kriz/cifar.html",
    },
    Entry { name: "cifar100", ..CIFAR100 },
    Entry { name: "cifar100-coarse", classes: 20, ..CIFAR100 },
    Entry {
        name: "svhn",
        classes: 10,
        image: Some([32, 32, 3]),
        train: 73_257,
        test: 26_032,
        source: Some(Source {
            folder: "svhn",
            base: "https://ufldl.stanford.edu/housenumbers/",
            downloads: &[
                file("train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
                file("test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
            ],
            archives: false,
            unpacked: &[],
        }),
        about: "Y. Netzer et al., for non-commercial use only; ufldl.stanford.edu/housenumbers",
    },
    Entry {
        name: "imagenette-160",
        source: Some(Source {
            folder: "imagenette-160",
            downloads: &[file(
                "imagenette2-160.tgz",
                99_003_388,
                "e793b78cc4c9e9a4ccc0c1155377a412",
            )],
            ..IMAGENETTE
        }),
        ..PHOTOS
    },
    Entry {
        name: "imagenette-320",
        source: Some(Source {
            folder: "imagenette-320",
            downloads: &[file(
                "imagenette2-320.tgz",
                341_663_724,
                "3df6f0d01a2c9592104656642f5e78a3",
            )],
            ..IMAGENETTE
        }),
        ..PHOTOS
    },
    Entry {
        name: "folder",
        classes: 0,
        image: None,
        train: 0,
        test: 0,
        source: None,
        about: "your own photos: a data folder with a sub-folder for each class",
    },
    Entry {
        name: "shapes",
        classes: 10,
        image: Some([28, 28, 1]),
        train: super::shapes::TRAIN,
        test: super::shapes::TEST,
        source: None,
        about: "drawn by the program",
    },
    Entry {
        name: "shapes32",
        classes: 10,
        image: Some([32, 32, 3]),
        train: super::shapes::TRAIN,
        test: super::shapes::TEST,
        source: None,
        about: "drawn by the program",
    },
];

const CIFAR100: Entry = Entry {
    name: "",
    classes: 100,
    image: Some([32, 32, 3]),
    train: 50_000,
    test: 10_000,
    source: Some(Source {
        folder: "cifar100",
        base: "https://www.cs.toronto.edu/~kriz/",
        downloads: &[file(
            "cifar-100-binary.tar.gz",
            168_513_733,
            "03b5dce01913d631647c71ecec9e9cb8",
        )],
        archives: true,
        unpacked: &[],
    }),
    about: "A. Krizhevsky, no licence stated; cs.toronto.edu/~kriz/cifar.html",
};

const PHOTOS: Entry = Entry {
    name: "",
    classes: 10,
    image: None,
    train: 9_469,
    test: 3_925,
    source: None,
    about: "J. Howard, Apache 2.0, photos of ImageNet; github.com/fastai/imagenette",
};

const IMAGENETTE: Source = Source {
    folder: "",
    base: "https://s3.amazonaws.com/fast-ai-imageclas/",
    downloads: &[],
    archives: true,
    unpacked: &[],
};

/// The data set that `--dataset` calls `name`.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Whether its images are photos, whose sizes differ.
    pub fn photos(&self) -> bool {
        self.image.is_none()
    }
}

impl Source {
    /// Bytes to download.
    pub fn bytes(&self) -> u64 {
        self.downloads.iter().map(|download| download.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_unique_and_complete() {
        for (i, entry) in ENTRIES.iter().enumerate() {
            assert!(!entry.name.is_empty() && ENTRIES[..i].iter().all(|e| e.name != entry.name));
            let Some(source) = entry.source else { continue };
            assert!(source.base.starts_with("https://") && source.base.ends_with('/'));
            assert!(!source.downloads.is_empty() && !source.folder.is_empty());
            for download in source.downloads {
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                assert!(download.md5.len() == 32 && download.md5.chars().all(hex));
            }
        }
        assert_eq!(super::super::NAMES.len(), ENTRIES.len());
        assert!(super::super::NAMES.iter().all(|name| entry(name).is_some()));
    }
}
