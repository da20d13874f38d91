//! A disk that forgets: what was not synced may be gone after a power cut, in part, or in the wrong order. Pure, in memory.
//!
//! The rules are the strict ones of POSIX, which every file system keeps: the bytes of a file are safe after `fsync` of the file, its name
//! after `fsync` of its folder. A change of a folder (a name made, moved or removed) is atomic.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;

/// The root's number.
pub(super) const ROOT: u64 = 1;

/// A file or folder, by its number. Numbers are never used twice.
#[derive(Debug, Default)]
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Node {
    mode: u16,
    live: Content,
    /// What is safe.
    safe: Content,
    /// What is not, in order.
    unsynced: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<String, u64>),
}

/// A change of one node.
#[derive(Clone, Debug)]
enum Step {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    Resize(usize),
    /// Names of a folder, set or removed at once.
    Names(Vec<(String, Option<u64>)>),
}

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchFile,
    Exists,
    NotEmpty,
    WrongKind,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) number: u64,
    pub(super) is_folder: bool,
    pub(super) bytes: u64,
    pub(super) mode: u16,
}

impl Content {
    fn apply(&mut self, step: &Step) {
        match (self, step) {
            (Content::File(own), Step::Write { at, bytes }) => {
                own.resize(own.len().max(at + bytes.len()), 0);
                own[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            (Content::File(own), Step::Resize(bytes)) => own.resize(*bytes, 0),
            (Content::Folder(own), Step::Names(names)) => {
                for (name, number) in names {
                    match number {
                        Some(number) => own.insert(name.clone(), *number),
                        None => own.remove(name),
                    };
                }
            }
            // Steps are made for the node they are on.
            _ => {}
        }
    }
}

impl Node {
    fn new(mode: u16, content: Content) -> Node {
        Node { mode, live: content.clone(), safe: content, unsynced: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        self.live.apply(&step);
        self.unsynced.push(step);
    }

    fn sync(&mut self) {
        for step in self.unsynced.drain(..) {
            self.safe.apply(&step);
        }
    }

    /// What a cut leaves.
    fn cut(&mut self, random: &mut SmallRng) {
        let steps = std::mem::take(&mut self.unsynced);
        let is_file = matches!(self.safe, Content::File(_));
        match random.random_range(0..3) {
            // Nothing got out in time.
            0 => {}
            // Some of it in order, the last write torn.
            1 => {
                let count = random.random_range(0..=steps.len());
                steps[..count].iter().for_each(|step| self.safe.apply(step));
                if let Some(Step::Write { at, bytes }) = steps.get(count) {
                    let bytes = bytes[..random.random_range(0..=bytes.len())].to_vec();
                    self.safe.apply(&Step::Write { at: *at, bytes });
                }
            }
            // Some of it in no order, as pages go. A folder's changes keep theirs, as a journal of a file system does.
            _ if is_file => {
                for step in steps {
                    if random.random_range(0..2) == 0 {
                        self.safe.apply(&step);
                    }
                }
            }
            _ => steps.iter().for_each(|step| self.safe.apply(step)),
        }
        self.live = self.safe.clone();
    }
}

impl Disk {
    /// An empty one.
    pub(super) fn new() -> Disk {
        let root = Node::new(0o755, Content::Folder(BTreeMap::new()));
        Disk { nodes: BTreeMap::from([(ROOT, root)]), last: ROOT }
    }

    /// Forgets, in part or in whole, what is not safe.
    pub(super) fn cut(&mut self, random: &mut SmallRng) {
        self.nodes.values_mut().for_each(|node| node.cut(random));
        // What no folder has any more is gone; so is a name whose file never was.
        let reachable = self.reachable();
        self.nodes.retain(|number, _| reachable.contains(number));
    }

    fn reachable(&self) -> Vec<u64> {
        let mut found = vec![ROOT];
        let mut looked = 0;
        while let Some(node) = found.get(looked).and_then(|number| self.nodes.get(number)) {
            if let Content::Folder(names) = &node.live {
                found.extend(names.values());
            }
            looked += 1;
        }
        found
    }

    fn node(&mut self, number: u64) -> Result<&mut Node, Refusal> {
        self.nodes.get_mut(&number).ok_or(Refusal::NoSuchFile)
    }

    fn names(&self, folder: u64) -> Result<&BTreeMap<String, u64>, Refusal> {
        match self.nodes.get(&folder).map(|node| &node.live) {
            Some(Content::Folder(names)) => Ok(names),
            Some(Content::File(_)) => Err(Refusal::WrongKind),
            None => Err(Refusal::NoSuchFile),
        }
    }

    /// What is known of a node.
    pub(super) fn about(&self, number: u64) -> Result<About, Refusal> {
        let node = self.nodes.get(&number).ok_or(Refusal::NoSuchFile)?;
        let (is_folder, bytes) = match &node.live {
            Content::File(bytes) => (false, bytes.len() as u64),
            Content::Folder(_) => (true, 0),
        };
        Ok(About { number, is_folder, bytes, mode: node.mode })
    }

    /// The node of a name.
    pub(super) fn find(&self, folder: u64, name: &str) -> Result<About, Refusal> {
        let number = *self.names(folder)?.get(name).ok_or(Refusal::NoSuchFile)?;
        self.about(number)
    }

    /// Everything in a folder.
    pub(super) fn list(&self, folder: u64) -> Result<Vec<(String, About)>, Refusal> {
        self.names(folder)?.iter().map(|(name, number)| Ok((name.clone(), self.about(*number)?))).collect()
    }

    /// Makes a file or a folder.
    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &str,
        mode: u16,
        is_folder: bool,
    ) -> Result<About, Refusal> {
        if self.names(folder)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        self.last += 1;
        let number = self.last;
        let content = if is_folder { Content::Folder(BTreeMap::new()) } else { Content::File(Vec::new()) };
        self.nodes.insert(number, Node::new(mode, content));
        self.node(folder)?.step(Step::Names(vec![(name.to_owned(), Some(number))]));
        self.about(number)
    }

    /// Takes a name away. The node stays as long as somebody has it open or a cut may bring the name back.
    pub(super) fn remove(&mut self, folder: u64, name: &str) -> Result<(), Refusal> {
        let about = self.find(folder, name)?;
        if about.is_folder && !self.names(about.number)?.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        self.node(folder)?.step(Step::Names(vec![(name.to_owned(), None)]));
        Ok(())
    }

    /// Moves a name, over another one if there is one.
    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Result<(), Refusal> {
        let number = self.find(from.0, from.1)?.number;
        let (gone, come) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(number)));
        self.names(to.0)?;
        if from.0 == to.0 {
            self.node(to.0)?.step(Step::Names(vec![gone, come]));
        } else {
            self.node(to.0)?.step(Step::Names(vec![come]));
            self.node(from.0)?.step(Step::Names(vec![gone]));
        }
        Ok(())
    }

    /// Bytes of a file, as many as there are of those asked for.
    pub(super) fn read(&self, number: u64, at: u64, count: usize) -> Result<&[u8], Refusal> {
        match self.nodes.get(&number).map(|node| &node.live) {
            Some(Content::File(bytes)) => {
                let from = bytes.len().min(at as usize);
                Ok(&bytes[from..bytes.len().min(from.saturating_add(count))])
            }
            Some(Content::Folder(_)) => Err(Refusal::WrongKind),
            None => Err(Refusal::NoSuchFile),
        }
    }

    /// Writes bytes, not safely yet.
    pub(super) fn write(&mut self, number: u64, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.node(number)?.step(Step::Write { at: at as usize, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Makes a file longer or shorter, not safely yet.
    pub(super) fn resize(&mut self, number: u64, bytes: u64) -> Result<(), Refusal> {
        self.node(number)?.step(Step::Resize(bytes as usize));
        Ok(())
    }

    /// Sets the permissions, which a cut leaves alone.
    pub(super) fn set_mode(&mut self, number: u64, mode: u16) -> Result<(), Refusal> {
        self.node(number)?.mode = mode;
        Ok(())
    }

    /// Makes safe what was written to a file, or what was done to a folder.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Refusal> {
        self.node(number)?.sync();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn what_is_synced_stays_whatever_is_cut() {
        for seed in 0..200 {
            let mut disk = Disk::new();
            let file = disk.make(ROOT, "a", 0o644, false).unwrap().number;
            disk.write(file, 0, b"safe").unwrap();
            disk.sync(file).unwrap();
            disk.sync(ROOT).unwrap();
            disk.write(file, 4, b"?").unwrap();
            disk.cut(&mut SmallRng::seed_from_u64(seed));
            let found = disk.find(ROOT, "a").unwrap();
            assert_eq!(disk.read(found.number, 0, 4).unwrap(), b"safe");
        }
    }

    #[test]
    fn what_is_not_synced_goes_or_stays_or_is_torn() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::new();
            let file = disk.make(ROOT, "a", 0o644, false).unwrap().number;
            disk.sync(ROOT).unwrap();
            disk.write(file, 0, b"ab").unwrap();
            disk.cut(&mut SmallRng::seed_from_u64(seed));
            left.insert(disk.read(file, 0, 9).unwrap().to_vec());
        }
        assert_eq!(left, [&b""[..], b"a", b"ab"].map(<[u8]>::to_vec).into());
    }

    #[test]
    fn a_name_is_safe_with_its_folder_and_a_move_happens_or_not() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::new();
            disk.make(ROOT, "new", 0o644, false).unwrap();
            disk.sync(ROOT).unwrap();
            disk.rename((ROOT, "new"), (ROOT, "now")).unwrap();
            disk.cut(&mut SmallRng::seed_from_u64(seed));
            let names: Vec<String> = disk.list(ROOT).unwrap().into_iter().map(|(name, _)| name).collect();
            seen.insert(names.join(","));
        }
        assert_eq!(seen, ["new", "now"].map(str::to_owned).into());
    }
}
