//! What a cluster needs to know and a plan doesn't say.

use mistral_core::plan::Plan;
use serde::{Deserialize, Serialize};

use super::super::{shown, unsupported};
use crate::CodegenError;

/// Settings of a cluster. Every field has a default that follows from the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// An existing namespace; `None` makes one of its own.
    pub namespace: Option<String>,
    /// Copies of the server that always run; `None` takes the copies that the plan's devices are
    /// enough for.
    pub replicas: Option<u32>,
    /// Copies at most under load; `None` is twice [`replicas`](Self::replicas).
    pub max_replicas: Option<u32>,
    /// Class of the volume with the weights; `None` takes the cluster's default.
    pub storage_class: Option<String>,
    /// Size of that volume in GiB; `None` follows the plan's weights.
    pub storage_gib: Option<u32>,
    /// Name of the Gateway that routes are attached to; `None` is `inference-gateway`.
    pub gateway: Option<String>,
    /// Share of requests that the canary gets, in percent; `None` is 10.
    pub canary_percent: Option<u32>,
    /// Image of the canary; `None` is the image of the others.
    pub canary_image: Option<String>,
    /// Devices of a node; `None` is 8.
    pub devices_per_node: Option<u32>,
}

/// The namespace that is made when none is named.
const NAMESPACE: &str = "mistral-serving";
const GATEWAY: &str = "inference-gateway";
const CANARY_PERCENT: u32 = 10;
const DEVICES_PER_NODE: u32 = 8;
/// Most copies: more is a mistake rather than a wish.
const MOST_REPLICAS: u32 = 1000;

/// Settings with everything decided and checked.
pub(crate) struct Settled {
    pub(super) namespace: String,
    /// Whether the namespace is ours to make.
    pub(super) own_namespace: bool,
    pub(crate) replicas: u32,
    pub(crate) max_replicas: u32,
    /// Whether several pods may mount the volume, which then must be mountable on every node.
    pub(super) shared: bool,
    pub(super) storage_class: Option<String>,
    pub(super) storage_gib: u32,
    pub(super) gateway: String,
    pub(super) canary_percent: u32,
    pub(super) canary_image: Option<String>,
    pub(super) devices_per_node: u32,
}

impl Settled {
    /// Refuses what a pod couldn't get from one node: `devices` are `field`'s.
    pub(super) fn on_a_node(
        &self,
        target: &'static str,
        field: &'static str,
        devices: u32,
    ) -> Result<(), CodegenError> {
        if devices <= self.devices_per_node {
            return Ok(());
        }
        let expected = format!("at most the {} devices of a node", self.devices_per_node);
        Err(unsupported(target, field, devices, &expected))
    }

    /// The same where nothing adds copies under load.
    pub(super) fn fixed(self) -> Self {
        Self {
            max_replicas: self.replicas,
            shared: self.replicas > 1,
            ..self
        }
    }

    /// The same where pods besides the copies mount the volume.
    pub(super) fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// Size in GiB of a machine's disk: the weights' and that of an image with libraries.
    pub(crate) fn disk_gib(&self) -> u32 {
        self.storage_gib.saturating_add(100)
    }
}

impl Cluster {
    /// Decides what is open. `copies` are those that the plan's devices are enough for.
    pub(crate) fn settle(
        &self,
        target: &'static str,
        plan: &Plan,
        copies: u32,
    ) -> Result<Settled, CodegenError> {
        let count = |field, value: u32, most: u32| {
            if (1..=most).contains(&value) {
                return Ok(value);
            }
            let expected = format!("a number from 1 to {most}");
            Err(unsupported(target, field, value, &expected))
        };
        let replicas = count(
            "cluster.replicas",
            self.replicas.unwrap_or(copies),
            MOST_REPLICAS,
        )?;
        let max = self.max_replicas.unwrap_or(replicas.saturating_mul(2));
        let max_replicas = count(
            "cluster.max_replicas",
            max.min(2 * MOST_REPLICAS),
            2 * MOST_REPLICAS,
        )?;
        if max_replicas < replicas {
            let expected = format!("at least cluster.replicas, which is {replicas}");
            return Err(unsupported(
                target,
                "cluster.max_replicas",
                max_replicas,
                &expected,
            ));
        }
        let storage = self.storage_gib.unwrap_or_else(|| storage_gib(plan));
        Ok(Settled {
            namespace: label(
                target,
                "cluster.namespace",
                self.namespace.as_deref(),
                NAMESPACE,
            )?,
            own_namespace: self.namespace.is_none(),
            replicas,
            max_replicas,
            shared: max_replicas > 1,
            storage_class: match &self.storage_class {
                Some(class) => Some(label(target, "cluster.storage_class", Some(class), "")?),
                None => None,
            },
            storage_gib: count("cluster.storage_gib", storage, 1 << 20)?,
            gateway: label(target, "cluster.gateway", self.gateway.as_deref(), GATEWAY)?,
            canary_percent: count(
                "cluster.canary_percent",
                self.canary_percent.unwrap_or(CANARY_PERCENT),
                99,
            )?,
            canary_image: match &self.canary_image {
                Some(name) => Some(image(target, "cluster.canary_image", name)?),
                None => None,
            },
            devices_per_node: count(
                "cluster.devices_per_node",
                self.devices_per_node.unwrap_or(DEVICES_PER_NODE),
                1024,
            )?,
        })
    }
}

/// Bytes of all weights of a copy, 0 when unknown.
pub(crate) fn weight_bytes(plan: &Plan) -> u64 {
    plan.memory
        .weight_bytes
        .saturating_mul(u64::from(plan.placement.count))
}

/// Room for the weights and for a second revision's beginnings; a generous size where they are
/// unknown.
pub(crate) fn storage_gib(plan: &Plan) -> u32 {
    const UNKNOWN_GIB: u32 = 200;
    match weight_bytes(plan) {
        0 => UNKNOWN_GIB,
        bytes => {
            let gib = (bytes / 4)
                .saturating_mul(5)
                .div_ceil(1 << 30)
                .saturating_add(10);
            u32::try_from(gib.div_ceil(10).saturating_mul(10)).unwrap_or(u32::MAX)
        }
    }
}

/// A DNS label (RFC 1123), as names of namespaces and objects are: lower-case letters, digits and
/// `-`, at most 63.
fn label(
    target: &'static str,
    field: &'static str,
    name: Option<&str>,
    default: &str,
) -> Result<String, CodegenError> {
    let name = name.unwrap_or(default);
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let whole = !name.is_empty() && name.len() <= 63 && name.bytes().all(fits);
    if whole && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(name.to_owned());
    }
    let expected = "lower-case letters, digits and - inside, at most 63";
    Err(unsupported(target, field, shown(name), expected))
}

/// A container image's name: printable ASCII without spaces, quotes or what a shell expands.
pub(crate) fn image(
    target: &'static str,
    field: &'static str,
    name: &str,
) -> Result<String, CodegenError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b);
    if name.len() <= 512
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(fits)
    {
        return Ok(name.to_owned());
    }
    let expected = "an image such as registry/name:tag, of letters, digits and -_./:@";
    Err(unsupported(target, field, shown(name), expected))
}

/// A name for objects, made from the name that clients use: letters, digits and `-`, at most 40,
/// beginning with a letter.
pub(crate) fn object_name(served: &str) -> String {
    let mut name = String::new();
    for c in served.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || (c.is_ascii_digit() && !name.is_empty()) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == 40 {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "model" } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        let rows = [
            ("mistral-nemo-12b", "mistral-nemo-12b"),
            ("Mistral AI/Nemo 2407!", "mistral-ai-nemo-2407"),
            ("7b", "b"),
            ("--", "model"),
            ("été", "t"),
            ("a.b_c", "a-b-c"),
        ];
        for (served, expected) in rows {
            assert_eq!(object_name(served), expected, "{served}");
        }
        assert_eq!(object_name(&"x-".repeat(60)).len(), 39);
    }
}
