use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// What a core dump of a process holds: all of its memory that it can write to, freed or not.
pub(crate) struct Memory(Vec<Vec<u8>>);

impl Memory {
    /// Reads the memory of a child of this process.
    pub(crate) fn of(process: u32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem"))
            .expect("the memory of a child must be readable: is yama's ptrace_scope 2 or 3?");
        let parts = maps.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            let is_writable = words.next()?.starts_with("rw");
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut part = vec![0; usize::try_from(to - from).unwrap()];
            let mut read = 0;
            // What has been unmapped meanwhile cannot be read.
            while is_writable
                && let Some(rest) = part.get_mut(read..).filter(|rest| !rest.is_empty())
                && let Ok(more @ 1..) = memory.read_at(rest, from + read as u64)
            {
                read += more;
            }
            part.truncate(read);
            Some(part)
        });
        Self(parts.collect())
    }

    /// Returns how often this is in it.
    pub(crate) fn count(&self, bytes: &[u8]) -> usize {
        let parts = self.0.iter().flat_map(|part| part.windows(bytes.len()));
        parts.filter(|it| *it == bytes).count()
    }

    /// Returns how many allocations begin with this, whatever their first 16 bytes are: the allocator uses those
    /// once it has been freed.
    pub(crate) fn allocations(&self, bytes: &[u8]) -> usize {
        let end = |part: &[u8], at: usize| part.get(at + 16..at + bytes.len()) == bytes.get(16..);
        let of_part = |part: &Vec<u8>| {
            let places = (16..part.len()).step_by(16);
            // glibc keeps the size before it.
            let has_size = |at: &usize| size_before(part, *at) >= bytes.len();
            places.filter(|at| end(part, *at) && has_size(at)).count()
        };
        self.0.iter().map(of_part).sum()
    }
}

/// 0 if no allocation can begin here.
fn size_before(part: &[u8], at: usize) -> usize {
    let size = part.get(at - 8..at).and_then(|size| size.try_into().ok());
    let size = size.map_or(0, usize::from_le_bytes) & !7;
    if size > part.len() { 0 } else { size }
}
