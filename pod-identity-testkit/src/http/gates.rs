use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::http::gate::Gate;
use crate::sync::lock;

/// The gates of a mock that have names.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<BTreeMap<String, Gate>>);

impl Gates {
    /// The gate of this name: a shut one, if the last one of the name has been released.
    pub(crate) fn named(&self, name: &str) -> Gate {
        let mut gates = lock(&self.0);
        let gate = gates.entry(name.to_owned()).or_default();
        if gate.is_released() {
            *gate = Gate::new();
        }
        gate.clone()
    }

    /// Opens the gate of this name. Returns whether there was one that was shut.
    pub(crate) fn release(&self, name: &str) -> bool {
        let gate = lock(&self.0).remove(name);
        let shut = gate.filter(|gate| !gate.is_released());
        shut.inspect(Gate::release).is_some()
    }

    /// Returns the names of the gates that are shut.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut gates = lock(&self.0);
        gates.retain(|_, gate| !gate.is_released());
        gates.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gates_name_can_be_reused_once_the_gate_is_open() {
        let gates = Gates::default();
        let first = gates.named("back");
        assert!(gates.release("back") && first.is_released());
        assert!(!gates.release("back"), "it is open");
        let second = gates.named("back");
        assert!(!second.is_released());
        second.release();
        assert!(!gates.named("back").is_released());
    }
}
