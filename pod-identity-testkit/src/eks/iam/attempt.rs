use std::collections::BTreeMap;

/// The principal that assumes a role.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Principal<'a> {
    Service(&'a str),
    /// Its ARN.
    Role(&'a str),
}

/// One attempt to assume a role.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) principal: Principal<'a>,
    /// The requested session tags.
    pub(crate) tags: &'a BTreeMap<String, String>,
    /// Other condition keys in lower case, such as `aws:sourcearn`.
    pub(crate) context: BTreeMap<&'static str, String>,
}

impl Attempt<'_> {
    /// Returns the value of a condition key in lower case.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        match self.tag_in(key) {
            Some(wanted) => {
                let mut tags = self.tags.iter();
                let tag = tags.find(|(tag, _)| tag.eq_ignore_ascii_case(wanted));
                tag.map(|(_, value)| value.as_str())
            }
            None => self.context.get(key).map(String::as_str),
        }
    }

    /// The tags are those of the request. They are transitive, so a role that assumes another one has them
    /// too.
    fn tag_in<'k>(&self, key: &'k str) -> Option<&'k str> {
        let of_principal = match self.principal {
            Principal::Role(_) => key.strip_prefix("aws:principaltag/"),
            Principal::Service(_) => None,
        };
        of_principal.or_else(|| key.strip_prefix("aws:requesttag/"))
    }
}
