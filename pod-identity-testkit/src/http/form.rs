/// The decoded pairs of a query or of a form, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Returns the first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns every name with its value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns every value of this name.
    pub(crate) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_keeps_every_value() {
        let form = Form::parse(b"tagKeys=a%20b&tagKeys=c+d&empty=&bare&&Action=Get%43aller");
        assert_eq!(form.all("tagKeys").collect::<Vec<_>>(), ["a b", "c d"]);
        assert_eq!((form.get("empty"), form.get("bare")), (Some(""), Some("")));
        assert_eq!(
            (form.get("Action"), form.get("other")),
            (Some("GetCaller"), None)
        );
    }
}
