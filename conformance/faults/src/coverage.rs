//! Checks that every fault that the testkit can inject has a row.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use pod_identity_testkit::{Fault, Field};
use syn::Item;

use crate::row::{Group, Row};

/// Returns the faults that no row has.
///
/// The testkit's enums are non-exhaustive, so a `match` here could not notice a new variant. This reads
/// the source instead.
pub(crate) fn missing(groups: &[Group]) -> io::Result<Vec<String>> {
    let rows: Vec<&Row> = groups.iter().flat_map(|group| &group.rows).collect();
    let faults: BTreeSet<String> = rows.iter().flat_map(|row| row.faults()).collect();
    let has = |wanted: &str| faults.iter().any(|fault| fault.contains(wanted));
    Ok(wanted()?
        .into_iter()
        .filter(|wanted| !has(wanted))
        .collect())
}

/// Returns the required parts of a fault's `Debug` output.
fn wanted() -> io::Result<Vec<String>> {
    let members = Fault::MEMBERS.iter();
    let members = members.filter(|member| !WITHOUT_ROW.contains(member));
    let mut wanted: Vec<String> = members.map(|member| format!(" {member}: ")).collect();
    wanted.extend(variants("token/defect", "TokenDefect")?);
    for format in variants("fault/field_defect", "TimeFormat")? {
        wanted.push(format!("expiration: Some({format})"));
    }
    for stage in variants("http/stage", "Stage")? {
        for member in ["close", "reset"] {
            wanted.push(format!("{member}: Some({stage})"));
        }
        for member in ["hold: Holds", "stall: Stalls"] {
            wanted.push(format!("{member}({{{stage}"));
        }
    }
    for defect in variants("fault/field_defect", "Defect")? {
        for field in Field::ALL {
            wanted.push(format!("{:?}: {defect}", field.name()));
        }
    }
    Ok(wanted)
}

fn variants(module: &str, name: &str) -> io::Result<Vec<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pod-identity-testkit/src")
        .join(module)
        .with_extension("rs");
    let error = |cause: &str| io::Error::other(format!("{}: {cause}", source.display()));
    let file = syn::parse_file(&fs::read_to_string(&source)?)
        .map_err(|cause| error(&cause.to_string()))?;
    let found = file.items.into_iter().find_map(|item| match item {
        Item::Enum(found) if found.ident == name => Some(found.variants),
        _ => None,
    });
    let variants = found.ok_or_else(|| error(&format!("no enum {name}")))?;
    Ok(variants
        .iter()
        .map(|variant| variant.ident.to_string())
        .collect())
}

/// Details of other members, bodies and answers that a test provides, and a fault that only the mock of EKS
/// Auth has.
const WITHOUT_ROW: [&str; 5] = ["message", "text", "body", "answer", "without"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::groups;

    #[test]
    fn every_fault_of_the_testkit_has_a_row() {
        assert_eq!(missing(&groups()).unwrap(), [""; 0]);
    }

    #[test]
    fn a_fault_without_a_row_is_named() {
        let mut groups = groups();
        for group in &mut groups {
            group.rows.retain(|row| row.subject != "connection reset");
        }
        let missing = missing(&groups).unwrap();
        assert_eq!(missing.first().unwrap(), " reset: ");
        let in_body = "reset: Some(InBody)".to_owned();
        assert!(missing.contains(&in_body), "{missing:?}");
    }
}
