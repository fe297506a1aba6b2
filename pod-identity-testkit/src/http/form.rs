use percent_encoding::percent_decode_str;

/// The decoded pairs of a query or of a form, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(pair).collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of this name.
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

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (decoded(name), decoded(value))
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_keeps_every_value() {
        let form = Form::parse("tagKeys=a%20b&tagKeys=c+d&empty=&bare&&Action=Get%43aller");
        assert_eq!(form.all("tagKeys").collect::<Vec<_>>(), ["a b", "c d"]);
        assert_eq!((form.get("empty"), form.get("bare")), (Some(""), Some("")));
        assert_eq!(
            (form.get("Action"), form.get("other")),
            (Some("GetCaller"), None)
        );
    }
}
