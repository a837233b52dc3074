//! Plans with some fields changed.

use mistral_codegen::Plan;
use serde_json::Value;

/// `plan` with `changes` by JSON pointer.
pub(crate) fn changed(mut plan: Value, changes: &[(&str, Value)]) -> Plan {
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer begins with /");
        plan.pointer_mut(parent).expect("the parent exists")[name] = value.clone();
    }
    serde_json::from_value(plan).expect("a plan")
}
