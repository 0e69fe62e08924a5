//! What the tests of this crate share: chains made by the formatter with the truth about them,
//! chains in a folder, and the tools of the second opinions.
#![allow(dead_code)] // each test program uses a part
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

pub(crate) mod oracle;

use block::ReadAt;
use fakes::vmdk::{Grain, Image, SECTOR, SparseSpec, cowd, descriptor, hosted, sesparse};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use vmdk::{Chain, Disk, Layer, VmdkError};

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that are never zero, so that a hole cannot pass for data.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let state = self.next();
        let byte = |n: u64| u8::try_from(mixed(state ^ n) >> 57).unwrap() | 1;
        (0..length as u64).map(byte).collect()
    }
}

fn mixed(value: u64) -> u64 {
    value.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// A kind of sparse file that the formatter makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Cowd,
    SeSparse,
    Hosted,
}

impl Made {
    pub(crate) fn create_type(self) -> &'static str {
        match self {
            Self::Cowd => "vmfsSparse",
            Self::SeSparse => "seSparse",
            Self::Hosted => "twoGbMaxExtentSparse",
        }
    }

    pub(crate) fn extent(self) -> &'static str {
        match self {
            Self::Cowd => "VMFSSPARSE",
            Self::SeSparse => "SESPARSE",
            Self::Hosted => "SPARSE",
        }
    }

    pub(crate) fn image(self, spec: &SparseSpec) -> Image {
        match self {
            Self::Cowd => cowd(spec),
            Self::SeSparse => sesparse(spec),
            Self::Hosted => hosted(spec, None),
        }
    }
}

/// A disk of a chain that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct DeltaSpec {
    pub(crate) made: Made,
    pub(crate) grain_sectors: u64,
    /// Of a thousand grains, so many are in this layer.
    pub(crate) density: u64,
    pub(crate) seed: u64,
    pub(crate) align_sectors: u64,
    /// Only marks that every reader understands alike: data.
    pub(crate) only_data: bool,
}

impl DeltaSpec {
    pub(crate) fn new(made: Made, grain_sectors: u64, density: u64, seed: u64) -> Self {
        let grain_sectors = if made == Made::SeSparse { 8 } else { grain_sectors };
        Self { made, grain_sectors, density, seed, align_sectors: 8, only_data: false }
    }

    /// Random grains; `truth` becomes what a reader must see above what it was.
    pub(crate) fn write(&self, truth: &mut [u8]) -> SparseSpec {
        let mut random = Random(self.seed);
        let grain = usize::try_from(self.grain_sectors * SECTOR).unwrap();
        let capacity = truth.len();
        let mut spec = SparseSpec {
            seed: self.seed,
            align_sectors: self.align_sectors,
            ..SparseSpec::new(capacity as u64, self.grain_sectors)
        };
        for (number, room) in truth.chunks_mut(grain).enumerate() {
            if random.below(1000) >= self.density {
                continue;
            }
            // A short last grain is whole in one file, and in another it is not.
            let length = if self.seed.is_multiple_of(2) { grain } else { room.len() };
            let bytes = random.bytes(length);
            let marks = !self.only_data && self.made != Made::Cowd;
            let made = match random.below(4) {
                0 if marks => Grain::Zero,
                1 if marks && self.made == Made::SeSparse => Grain::Unmapped(bytes),
                _ => Grain::Data(bytes),
            };
            match &made {
                Grain::Data(bytes) => room.copy_from_slice(&bytes[..room.len()]),
                Grain::Zero | Grain::Unmapped(_) => room.fill(0),
            }
            spec.grains.insert(number as u64, made);
        }
        spec
    }
}

/// A chain in memory, the base first, and what it must read like.
pub(crate) struct Stack {
    /// Descriptor and file of each disk.
    pub(crate) disks: Vec<(String, Arc<dyn ReadAt>)>,
    pub(crate) truth: Vec<u8>,
}

pub(crate) fn cid(position: usize) -> u32 {
    0x1000_0000 + u32::try_from(position).unwrap()
}

impl Stack {
    /// A flat base with random content, or none, below the deltas.
    pub(crate) fn new(sectors: u64, base: Option<u64>, deltas: &[DeltaSpec]) -> Self {
        let length = usize::try_from(sectors * SECTOR).unwrap();
        let mut stack = Self { disks: Vec::new(), truth: vec![0; length] };
        if let Some(seed) = base {
            stack.truth = Random(seed).bytes(length);
            let line = format!("RW {sectors} VMFS \"base-flat.vmdk\"");
            let text = descriptor("vmfs", cid(0), None, &[line]);
            stack.disks.push((text, Arc::new(stack.truth.clone())));
        }
        for delta in deltas {
            stack.push(delta);
        }
        stack
    }

    pub(crate) fn push(&mut self, delta: &DeltaSpec) {
        let position = self.disks.len();
        let image = delta.made.image(&delta.write(&mut self.truth));
        let sectors = self.truth.len() as u64 / SECTOR;
        let line = format!("RW {sectors} {} \"{}\"", delta.made.extent(), file_name(position));
        let below = position.checked_sub(1).map(|below| (cid(below), name(below)));
        let parent = below.as_ref().map(|(cid, name)| (*cid, name.as_str()));
        let text = descriptor(delta.made.create_type(), cid(position), parent, &[line]);
        self.disks.push((text, Arc::new(image)));
    }

    pub(crate) fn chain(&self) -> Result<Chain, VmdkError> {
        let mut layers = Vec::new();
        for (text, file) in self.disks.iter().rev() {
            layers.push(Layer::open(Disk::parse(text.as_bytes())?, vec![Arc::clone(file)])?);
        }
        Chain::new(layers)
    }

    /// Writes all files; the name of the newest descriptor comes back.
    pub(crate) fn save(&self, folder: &Path) -> String {
        for (position, (text, file)) in self.disks.iter().enumerate() {
            let disk = Disk::parse(text.as_bytes()).unwrap();
            std::fs::write(folder.join(name(position)), text).unwrap();
            let bytes = file.read_vec(0, usize::try_from(file.size()).unwrap()).unwrap();
            std::fs::write(folder.join(&disk.files[0]), bytes).unwrap();
        }
        name(self.disks.len() - 1)
    }
}

fn name(position: usize) -> String {
    format!("disk-{position:06}.vmdk")
}

fn file_name(position: usize) -> String {
    format!("disk-{position:06}-delta.vmdk")
}

/// Opens a disk and all its parents from the files of a folder.
pub(crate) fn open(folder: &Path, name: &str) -> Result<Chain, VmdkError> {
    let mut layers = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let layer = open_layer(folder, &name)?;
        next = layer.disk().parent_file.clone();
        layers.push(layer);
    }
    Chain::new(layers)
}

fn open_layer(folder: &Path, name: &str) -> Result<Layer, VmdkError> {
    let file = |name: &str| Arc::new(File::open(folder.join(name)).unwrap()) as Arc<dyn ReadAt>;
    if let Some(layer) = Layer::open_single(name, file(name))? {
        return Ok(layer);
    }
    let disk = Disk::parse(&std::fs::read(folder.join(name)).unwrap())?;
    let files = disk.files.iter().map(|name| file(name)).collect();
    Layer::open(disk, files)
}

/// All bytes of a disk.
pub(crate) fn content(chain: &Chain) -> Vec<u8> {
    chain
        .read_vec(0, usize::try_from(chain.capacity()).unwrap())
        .unwrap_or_else(|error| panic!("{}", model::chain(&error)))
}
