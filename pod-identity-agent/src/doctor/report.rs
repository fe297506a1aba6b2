use std::fmt;

use pod_identity_core::printable;
use serde_json::{Value, json};

use crate::doctor::finding::{Class, Finding, Found};
use crate::doctor::step::{Outcome, Taken};

/// What a walk has found. [`Display`](fmt::Display) is the report for people, [`to_json`](Self::to_json) the
/// same for programs.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where the walk was made: `pod` or `node`.
    pub(crate) place: &'static str,
    pub(crate) taken: Vec<Taken>,
    /// What may be wrong outside the reach of the walk; reported when nothing else is wrong.
    pub(crate) hint: Option<&'static Finding>,
}

impl Report {
    /// The first fault. The walk follows the chain, so what comes after may be a consequence.
    pub(crate) fn first_fault(&self) -> Option<&Found> {
        self.found().find(|found| found.finding.is_fault())
    }

    /// 0 if there is no fault, else the code of the first fault's class.
    pub(crate) fn exit_code(&self) -> u8 {
        self.first_fault()
            .map_or(0, |found| found.finding.class.exit_code())
    }

    pub(crate) fn to_json(&self) -> Value {
        let steps: Vec<_> = self.taken.iter().map(step_to_json).collect();
        json!({
            "place": self.place,
            "healthy": self.first_fault().is_none(),
            "fault": self.first_fault().map(|found| found.finding.code),
            "exit-code": self.exit_code(),
            "steps": steps,
        })
    }

    fn found(&self) -> impl Iterator<Item = &Found> {
        self.taken
            .iter()
            .flat_map(|taken| taken.outcome.all_found())
    }
}

fn step_to_json(taken: &Taken) -> Value {
    let (outcome, detail) = match &taken.outcome {
        Outcome::Fine(seen) => ("fine", Some(seen.as_str())),
        Outcome::Skipped(reason) => ("skipped", Some(*reason)),
        Outcome::Found(found) if found.iter().any(|one| one.finding.is_fault()) => ("fault", None),
        Outcome::Found(_) => ("advice", None),
    };
    let found: Vec<_> = taken
        .outcome
        .all_found()
        .iter()
        .map(found_to_json)
        .collect();
    json!({ "step": taken.step, "outcome": outcome, "detail": detail, "findings": found })
}

fn found_to_json(found: &Found) -> Value {
    let Finding {
        code,
        class,
        message,
        cause,
        remedy,
        ..
    } = found.finding;
    json!({
        "code": code,
        "class": class.name(),
        "message": message,
        "detail": found.detail,
        "cause": cause,
        "remedy": remedy,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Taken { step, outcome } in &self.taken {
            match outcome {
                Outcome::Fine(seen) => writeln!(f, "✓ {step}: {}", printable(seen))?,
                Outcome::Skipped(reason) => writeln!(f, "– {step}: not checked, because {reason}")?,
                Outcome::Found(found) => {
                    for one in found {
                        write_found(f, step, one)?;
                    }
                }
            }
        }
        writeln!(f)?;
        match self.first_fault() {
            None => {
                writeln!(f, "no fault was found")?;
                if let Some(hint) = self.hint {
                    writeln!(f, "{}: {}", hint.message, hint.remedy)?;
                }
                Ok(())
            }
            Some(first) => {
                let class = first.finding.class.name();
                writeln!(
                    f,
                    "the first fault is of the class {class}: {}",
                    first.finding.code
                )
            }
        }
    }
}

fn write_found(f: &mut fmt::Formatter<'_>, step: &str, found: &Found) -> fmt::Result {
    let Finding {
        code,
        class,
        message,
        cause,
        remedy,
        ..
    } = found.finding;
    let mark = if *class == Class::Advice { '!' } else { '✗' };
    write!(f, "{mark} {step}: {message}")?;
    if !found.detail.is_empty() {
        write!(f, ": {}", printable(&found.detail))?;
    }
    writeln!(f, " [{code}]")?;
    writeln!(f, "    cause: {cause}")?;
    writeln!(f, "    remedy: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::findings::{LINK_MISSING, NODE_ROLE, OLD_SDK, REFUSED, TOKEN_EXPIRED};
    use crate::node::problem::Problem;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let taken = outcomes.into_iter();
        Report {
            place: "pod",
            taken: taken
                .map(|outcome| Taken {
                    step: "step",
                    outcome,
                })
                .collect(),
            hint: Some(&OLD_SDK),
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_fault_and_advice_is_none() {
        let fine = || Outcome::Fine("seen".to_owned());
        let advice = || Outcome::found(&NODE_ROLE, "");
        assert_eq!(report(vec![fine(), advice()]).exit_code(), 0);
        let faults = vec![
            advice(),
            Outcome::found(&REFUSED, ""),
            Outcome::found(&TOKEN_EXPIRED, ""),
        ];
        assert_eq!(report(faults).exit_code(), 5);
    }

    #[test]
    fn a_detail_that_begins_with_the_message_does_not_repeat_it() {
        let problem = Problem::NoLink.to_string();
        let text = report(vec![Outcome::found(&LINK_MISSING, problem)]).to_string();
        let line = "✗ step: the link pod-id-link0 is not there: run `pod-identity-agent initialize` \
                    [link-missing]";
        assert_eq!(text.lines().next(), Some(line));
    }

    #[test]
    fn what_a_step_has_seen_adds_no_line_to_the_report() {
        let text = report(vec![
            Outcome::Fine("a\u{2028}b\n✓ all: fine".to_owned()),
            Outcome::found(&REFUSED, "c\u{202e}d\n✓ all: fine"),
        ])
        .to_string();
        assert!(text.contains(r"a\u{2028}b\n✓ all") && text.contains(r"c\u{202e}d\n✓ all"));
    }

    #[test]
    fn text_and_json_say_the_same() {
        let report = report(vec![
            Outcome::Fine("seen".to_owned()),
            Outcome::found(&REFUSED, "169.254.170.23:80"),
            Outcome::Skipped("the agent was not asked"),
        ]);
        let text = report.to_string();
        let json = report.to_json();
        for line in [
            "✓ step: seen",
            "– step: not checked, because the agent was not asked",
            "the first fault is of the class network: refused",
        ] {
            assert!(
                text.lines().any(|of_text| of_text == line),
                "no {line} in {text}"
            );
        }
        let fault = &json["steps"][1]["findings"][0];
        for member in ["message", "detail", "cause", "remedy", "code"] {
            let said = fault[member].as_str().unwrap();
            assert!(text.contains(said), "no {said} in {text}");
        }
        assert_eq!(json["exit-code"], 5);
        assert_eq!(json["fault"], "refused");
        assert!(!text.contains(OLD_SDK.message), "a hint is no consolation");
    }
}
