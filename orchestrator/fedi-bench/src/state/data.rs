//! Files to measure with: their content is without meaning and does not compress.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use anyhow::Result;

/// Numbers without pattern (xorshift64*, Vigna 2016), always the same for the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Writes a file of so many bytes.
    pub(crate) fn file(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        let mut left = bytes;
        while left > 0 {
            let part = left.min(8);
            file.write_all(&self.next().to_le_bytes()[..usize::try_from(part)?])?;
            left -= part;
        }
        file.flush()?;
        Ok(())
    }
}

/// How many files one folder has.
const TOGETHER: u64 = 100;

/// Files of `smallest` to `largest` bytes, a hundred in a folder.
pub(crate) fn many(folder: &Path, count: u64, smallest: u64, largest: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..count {
        one_of_many(folder, number, smallest, largest, 0)?;
    }
    Ok(())
}

/// One of these, in its `version`.
pub(crate) fn one_of_many(folder: &Path, number: u64, smallest: u64, largest: u64, version: u64) -> Result<()> {
    let below = folder.join(format!("{:04}", number / TOGETHER));
    match fs::create_dir(&below) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let mut noise = Noise::new(number + 1);
    let size = smallest + noise.next() % (largest - smallest);
    let mut noise = Noise::new((version << 32) + number + 1);
    noise.file(&below.join(format!("{number:06}.bin")), size)
}

/// `bytes` in files of `each`.
pub(crate) fn large(folder: &Path, bytes: u64, each: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..bytes.div_ceil(each) {
        Noise::new(number + 1).file(&folder.join(format!("{number:03}.bin")), each.min(bytes - number * each))?;
    }
    Ok(())
}
