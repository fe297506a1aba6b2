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

    /// Compares with the baseline. Costs within the tolerance are the same.
    pub(crate) fn compare(&self, baseline: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        for (name, cost) in &self.0 {
            let Some(before) = baseline.find(name) else {
                let failure = format!("{name}: not in the baseline");
                comparison.failures.push(failure);
                continue;
            };
            let tolerance = (before.instructions * TOLERANCE_PERCENT / 100).max(LEAST_TOLERANCE);
            let difference = format!("{name}: {cost}, and {before} in the baseline");
            if cost.instructions > before.instructions + tolerance
                || cost.allocations > before.allocations
            {
                comparison.failures.push(difference);
            } else if cost.instructions + tolerance < before.instructions
                || cost.allocations < before.allocations
            {
                comparison.gains.push(difference);
            }
        }
        for (name, _) in &baseline.0 {
            if self.find(name).is_none() {
                let failure = format!("{name}: in the baseline only");
                comparison.failures.push(failure);
            }
        }
        comparison
    }

    fn find(&self, name: &str) -> Option<Cost> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, cost)| *cost)
    }
}

/// What a measurement says beside the baseline, a sentence each.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    /// Cases that cost more than before, and cases without a counterpart.
    pub(crate) failures: Vec<String>,
    /// Cases that cost less than before. They do not fail the check: another compiler, C library or processor can
    /// make a call cheaper, too.
    pub(crate) gains: Vec<String>,
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
    fn more_than_3_percent_more_is_a_failure_and_less_is_a_gain() {
        for (measured, failures, gains) in [(969, 0, 1), (970, 0, 0), (1030, 0, 0), (1031, 1, 0)] {
            let comparison = of(measured, 0).compare(&of(1000, 0));
            assert_eq!(comparison.failures.len(), failures, "{measured}");
            assert_eq!(comparison.gains.len(), gains, "{measured}");
        }
    }

    #[test]
    fn two_instructions_of_a_short_call_are_no_difference() {
        for (measured, failures, gains) in [(17, 0, 1), (18, 0, 0), (22, 0, 0), (23, 1, 0)] {
            let comparison = of(measured, 0).compare(&of(20, 0));
            assert_eq!(comparison.failures.len(), failures, "{measured}");
            assert_eq!(comparison.gains.len(), gains, "{measured}");
        }
    }

    #[test]
    fn one_more_allocation_is_a_failure() {
        let comparison = of(1000, 1).compare(&of(1000, 0));
        assert_eq!(
            comparison.failures,
            [
                "a case: 1000 instructions and 1 allocations, and 1000 instructions and 0 allocations in the baseline"
            ]
        );
        let comparison = of(1000, 0).compare(&of(1000, 1));
        assert!(comparison.failures.is_empty());
        assert_eq!(comparison.gains.len(), 1);
    }

    #[test]
    fn a_case_on_one_side_only_is_a_failure() {
        let none = Baseline::default();
        assert_eq!(
            none.compare(&of(1, 0)).failures,
            ["a case: in the baseline only"]
        );
        assert_eq!(
            of(1, 0).compare(&none).failures,
            ["a case: not in the baseline"]
        );
    }
}
