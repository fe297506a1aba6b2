use std::env::consts::ARCH;
use std::fmt;
use std::fs;

use crate::Result;

/// What one call of each case costs.
#[derive(Debug, Default)]
pub(crate) struct Baseline(Vec<(String, Cost)>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

impl Baseline {
    /// Reads what is committed.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(PATH)?;
        let mut lines = text.lines();
        if lines.next() != Some(&*header()) {
            return Err(format!("{PATH} is for another architecture than {ARCH}").into());
        }
        let mut baseline = Self::default();
        for line in lines {
            let mut words = line.rsplit_terminator(' ').filter(|word| !word.is_empty());
            let (Some(allocations), Some(instructions)) = (words.next(), words.next()) else {
                return Err(format!("{PATH}: a line without two numbers: {line}").into());
            };
            let name = line
                .get(..NAME)
                .ok_or_else(|| format!("{PATH}: a line without a name: {line}"))?;
            let cost = Cost {
                instructions: instructions.parse()?,
                allocations: allocations.parse()?,
            };
            baseline.push(name.trim_end(), cost);
        }
        Ok(baseline)
    }

    pub(crate) fn write(&self) -> Result<()> {
        Ok(fs::write(PATH, self.to_string())?)
    }

    pub(crate) fn push(&mut self, name: &str, cost: Cost) {
        self.0.push((name.to_owned(), cost));
    }

    /// What differs from the baseline by more than the tolerance. A case that has become cheaper is a difference
    /// too: the next one that becomes dearer would not be found.
    pub(crate) fn differences(&self, baseline: &Self) -> Vec<String> {
        let missing = baseline
            .0
            .iter()
            .filter(|(name, _)| self.find(name).is_none());
        let missing = missing.map(|(name, _)| format!("{name}: in the baseline only"));
        let changed = self.0.iter().filter_map(|(name, cost)| {
            let Some(before) = baseline.find(name) else {
                return Some(format!("{name}: not in the baseline"));
            };
            let distance = cost.instructions.abs_diff(before.instructions);
            let tolerance = (before.instructions * TOLERANCE_PERCENT / 100).max(LEAST_TOLERANCE);
            let differs = distance > tolerance || cost.allocations != before.allocations;
            differs.then(|| format!("{name}: {cost}, and {before} in the baseline"))
        });
        changed.chain(missing).collect()
    }

    fn find(&self, name: &str) -> Option<Cost> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, cost)| *cost)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", header())?;
        for (name, cost) in &self.0 {
            let (instructions, allocations) = (cost.instructions, cost.allocations);
            writeln!(f, "{name:<NAME$} {instructions:>8} {allocations:>4}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (instructions, allocations) = (self.instructions, self.allocations);
        write!(
            f,
            "{instructions} instructions and {allocations} allocations"
        )
    }
}

fn header() -> String {
    format!("# Instructions and allocations of one call on {ARCH}")
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");

const NAME: usize = 40;

/// Another version of the compiler or of the C library moves a count by less.
const TOLERANCE_PERCENT: u64 = 3;

/// In instructions: the start of the process differs a little from run to run.
const LEAST_TOLERANCE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(instructions: u64, allocations: u64) -> Baseline {
        let cost = Cost {
            instructions,
            allocations,
        };
        Baseline(vec![("a case".to_owned(), cost)])
    }

    #[test]
    fn a_difference_of_more_than_3_percent_in_either_direction_is_reported() {
        for (measured, count) in [(970, 0), (1030, 0), (969, 1), (1031, 1)] {
            let differences = of(measured, 0).differences(&of(1000, 0));
            assert_eq!(differences.len(), count, "{measured}");
        }
    }

    #[test]
    fn one_more_allocation_is_reported() {
        let differences = of(1000, 1).differences(&of(1000, 0));
        assert_eq!(
            differences,
            [
                "a case: 1000 instructions and 1 allocations, and 1000 instructions and 0 allocations in the baseline"
            ]
        );
    }

    #[test]
    fn a_case_on_one_side_only_is_reported() {
        let none = Baseline::default();
        assert_eq!(
            none.differences(&of(1, 0)),
            ["a case: in the baseline only"]
        );
        assert_eq!(of(1, 0).differences(&none), ["a case: not in the baseline"]);
    }
}
