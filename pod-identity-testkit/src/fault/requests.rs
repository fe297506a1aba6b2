/// How many requests a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    Next(usize),
    Nth(usize),
    Always,
}
