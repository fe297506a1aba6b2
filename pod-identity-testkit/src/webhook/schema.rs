use serde_json::Value;

use super::node::PodError;

/// The types of a pod's members, as far as manifests are commonly written by hand. A member that is not here may
/// have any type.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Boolean,
    /// A port by its number or by its name.
    IntegerOrText,
    /// An amount, such as `0.5` or `"500m"`.
    Quantity,
    List(&'static Kind),
    /// An object whose members all have this type.
    Map(&'static Kind),
    Object(&'static [(&'static str, Kind)]),
}

/// Checks the types as the API server does when it decodes a pod, before any webhook sees it.
pub(crate) fn check(pod: &Value) -> Result<(), PodError> {
    POD.check(pod, "")
}

impl Kind {
    fn check(self, value: &Value, path: &str) -> Result<(), PodError> {
        if value.is_null() {
            return Ok(());
        }
        match (self, value) {
            (Self::List(kind), Value::Array(elements)) => {
                let mut elements = elements.iter().enumerate();
                elements.try_for_each(|(index, element)| kind.check(element, &at(path, index)))
            }
            (Self::Map(kind), Value::Object(members)) => {
                let mut members = members.iter();
                members.try_for_each(|(name, member)| kind.check(member, &at(path, escaped(name))))
            }
            (Self::Object(known), Value::Object(members)) => {
                let mut known = known.iter();
                known.try_for_each(|(name, kind)| match members.get(*name) {
                    Some(member) => kind.check(member, &at(path, name)),
                    None => Ok(()),
                })
            }
            _ if self.allows(value) => Ok(()),
            _ => Err(PodError::Type {
                path: path.to_owned(),
                expected: self.name(),
            }),
        }
    }

    fn allows(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::IntegerOrText => value.is_string() || value.is_i64() || value.is_u64(),
            Self::Quantity => value.is_string() || value.is_number(),
            Self::List(_) | Self::Map(_) | Self::Object(_) => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::IntegerOrText => "an integer or a string",
            Self::Quantity => "a number or a string",
            Self::List(_) => "an array",
            Self::Map(_) | Self::Object(_) => "an object",
        }
    }
}

fn at(path: &str, member: impl std::fmt::Display) -> String {
    format!("{path}/{member}")
}

/// RFC 6901 §3.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

const TEXTS: Kind = Kind::Map(&Kind::Text);

const POD: Kind = Kind::Object(&[
    ("apiVersion", Kind::Text),
    ("kind", Kind::Text),
    ("metadata", METADATA),
    ("spec", SPEC),
]);

const METADATA: Kind = Kind::Object(&[
    ("name", Kind::Text),
    ("generateName", Kind::Text),
    ("namespace", Kind::Text),
    ("labels", TEXTS),
    ("annotations", TEXTS),
]);

const SPEC: Kind = Kind::Object(&[
    ("serviceAccountName", Kind::Text),
    ("serviceAccount", Kind::Text),
    ("automountServiceAccountToken", Kind::Boolean),
    ("nodeName", Kind::Text),
    ("nodeSelector", TEXTS),
    ("hostNetwork", Kind::Boolean),
    ("restartPolicy", Kind::Text),
    ("dnsPolicy", Kind::Text),
    ("schedulerName", Kind::Text),
    ("priorityClassName", Kind::Text),
    ("terminationGracePeriodSeconds", Kind::Integer),
    ("activeDeadlineSeconds", Kind::Integer),
    ("enableServiceLinks", Kind::Boolean),
    ("containers", Kind::List(&CONTAINER)),
    ("initContainers", Kind::List(&CONTAINER)),
    ("volumes", Kind::List(&VOLUME)),
]);

const CONTAINER: Kind = Kind::Object(&[
    ("name", Kind::Text),
    ("image", Kind::Text),
    ("imagePullPolicy", Kind::Text),
    ("restartPolicy", Kind::Text),
    ("workingDir", Kind::Text),
    ("command", Kind::List(&Kind::Text)),
    ("args", Kind::List(&Kind::Text)),
    ("env", Kind::List(&VARIABLE)),
    ("ports", Kind::List(&PORT)),
    ("volumeMounts", Kind::List(&MOUNT)),
    ("resources", RESOURCES),
    ("livenessProbe", PROBE),
    ("readinessProbe", PROBE),
    ("startupProbe", PROBE),
]);

const VARIABLE: Kind = Kind::Object(&[
    ("name", Kind::Text),
    ("value", Kind::Text),
    ("valueFrom", Kind::Object(&[("fieldRef", FIELD)])),
]);

const FIELD: Kind = Kind::Object(&[("apiVersion", Kind::Text), ("fieldPath", Kind::Text)]);

const PORT: Kind = Kind::Object(&[
    ("name", Kind::Text),
    ("containerPort", Kind::Integer),
    ("hostPort", Kind::Integer),
    ("protocol", Kind::Text),
]);

const MOUNT: Kind = Kind::Object(&[
    ("name", Kind::Text),
    ("mountPath", Kind::Text),
    ("subPath", Kind::Text),
    ("readOnly", Kind::Boolean),
]);

const RESOURCES: Kind = Kind::Object(&[
    ("limits", Kind::Map(&Kind::Quantity)),
    ("requests", Kind::Map(&Kind::Quantity)),
]);

const PROBE: Kind = Kind::Object(&[
    (
        "httpGet",
        Kind::Object(&[
            ("path", Kind::Text),
            ("port", Kind::IntegerOrText),
            ("scheme", Kind::Text),
        ]),
    ),
    ("initialDelaySeconds", Kind::Integer),
    ("periodSeconds", Kind::Integer),
    ("timeoutSeconds", Kind::Integer),
    ("successThreshold", Kind::Integer),
    ("failureThreshold", Kind::Integer),
]);

const VOLUME: Kind = Kind::Object(&[
    ("name", Kind::Text),
    (
        "projected",
        Kind::Object(&[
            ("defaultMode", Kind::Integer),
            (
                "sources",
                Kind::List(&Kind::Object(&[("serviceAccountToken", TOKEN)])),
            ),
        ]),
    ),
    ("secret", Kind::Object(&[("defaultMode", Kind::Integer)])),
    ("configMap", Kind::Object(&[("defaultMode", Kind::Integer)])),
]);

const TOKEN: Kind = Kind::Object(&[
    ("audience", Kind::Text),
    ("expirationSeconds", Kind::Integer),
    ("path", Kind::Text),
]);
