use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use pod_identity_core::TokenDigest;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::fault::choice::{GateChoice, Holds, Stalls, TokenChoice};
use crate::fault::error::FaultError;
use crate::fault::field_defect::{Defect, TimeFormat};
use crate::fault::headers::Headers;
use crate::fault::hidden::Hidden;
use crate::fault::member::Member;
use crate::fault::operation::Operation;
use crate::fault::requests::Requests;
use crate::fault::responder::Responder;
use crate::fault::span::Span;
use crate::http::answer::Answer;
use crate::http::gate::Gate;
use crate::http::stage::Stage;

/// Declares [`Fault`] and the methods that visit each of its members.
macro_rules! fault {
    (
        $(#[$meta:meta])*
        answer: { $($(#[$answer_meta:meta])* $answer:ident: $answer_type:ty,)* }
        change: { $($change:ident: $change_type:ty,)* }
        requests: { $($request:ident: $request_type:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[must_use = "a fault has to be injected"]
        pub struct Fault {
            $($(#[$answer_meta])* pub(crate) $answer: $answer_type,)*
            $(pub(crate) $change: $change_type,)*
            $(pub(crate) $request: $request_type,)*
        }

        impl Fault {
            /// The name of each member, as scenario files have it, without those that select
            /// requests.
            pub const MEMBERS: &'static [&'static str] =
                &[$(stringify!($answer),)* $(stringify!($change),)*];

            /// Returns which [`MEMBERS`](Self::MEMBERS) are set.
            pub fn members(&self) -> Vec<&'static str> {
                let mut members = Vec::new();
                $(members.extend(self.$answer.is_set().then_some(stringify!($answer)));)*
                $(members.extend(self.$change.is_set().then_some(stringify!($change)));)*
                members
            }

            /// Returns whether the fault replaces the mock's own answer.
            pub(super) fn answers(&self) -> bool {
                $(self.$answer.is_set() ||)* false
            }

            /// Returns whether the two faults cannot apply to the same request.
            pub(super) fn overlaps(&self, other: &Self) -> bool {
                $(self.$answer.overlaps(&other.$answer) ||)*
                $(self.$change.overlaps(&other.$change) ||)*
                false
            }

            /// Adds the members of the other fault that are not set here.
            pub(super) fn absorb(&mut self, other: Self) {
                $(self.$answer.absorb(other.$answer);)*
                $(self.$change.absorb(other.$change);)*
            }

            /// Returns the fault for a request that another fault answers. A stall is removed too: it would
            /// keep the other answer from ever being sent.
            pub(super) fn without_answer(self) -> Self {
                Self {
                    $($answer: Default::default(),)*
                    stall: Stalls::default(),
                    ..self
                }
            }
        }

        impl Serialize for Fault {
            /// The members that it has, in the words in which it is read. What a test may have hidden in it is `..`.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut members = serializer.serialize_map(None)?;
                $(if self.$answer.is_set() { members.serialize_entry(stringify!($answer), &self.$answer)?; })*
                $(if self.$change.is_set() { members.serialize_entry(stringify!($change), &self.$change)?; })*
                $(if self.$request.is_set() { members.serialize_entry(stringify!($request), &self.$request)?; })*
                members.end()
            }
        }

        impl fmt::Debug for Fault {
            /// Shows the members that are set, without bodies and header values.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct("Fault");
                $(if self.$answer.is_set() { shown.field(stringify!($answer), &self.$answer); })*
                $(if self.$change.is_set() { shown.field(stringify!($change), &self.$change); })*
                $(if self.$request.is_set() { shown.field(stringify!($request), &self.$request); })*
                shown.finish()
            }
        }
    };
}

fault! {
    /// What a mock does to a request instead of, or in addition to, its normal answer, and to which requests.
    ///
    /// A function creates a fault of one member; [`and`](Self::and) combines two. Other methods select the
    /// requests: [the next one](crate::MockAgent::inject) by default. Some members *answer*, of
    /// which there can be one. Some *change* a success, or any answer. Some control how the bytes are
    /// *delivered*; of these a reset and a close count as an answer, because they end the request. A
    /// scenario file and the admin endpoint have the same members: see `docs/scenario.md` of the project.
    ///
    /// How faults queue is described at [`MockAgent`](crate::MockAgent#faults).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pod_identity_core::wire::eks_auth::ErrorCode;
    /// use pod_identity_testkit::{Defect, Fault, Field, Gate, ServiceError, Stage};
    ///
    /// let second = Duration::from_secs(1);
    /// let refused: Fault = ErrorCode::AccessDenied.into();
    /// let hinted: Fault = ServiceError::new(ErrorCode::Throttling).retry_after(2 * second).into();
    /// let no_expiry = Fault::field(Field::Expiration, Defect::Missing);
    /// let slow_headers = Fault::hold(Stage::InHeaders, &Gate::new());
    /// let broken_off = Fault::reset(Stage::InBody);
    /// let one_slow_error = Fault::latency(second).and(Fault::status(503));
    /// let outage_in_an_hour = Fault::status(503).after(3600 * second).lasting(600 * second);
    /// let own = Fault::respond(|request| http::Response::new(format!("no {}", request.uri())));
    /// # let _ = (refused, hinted, no_expiry, slow_headers, broken_off, one_slow_error);
    /// # let _ = (outage_in_an_hour, own);
    /// ```
    answer: {
        error: Option<String>,
        message: Option<Hidden<String>>,
        status: Option<u16>,
        text: Option<Hidden<String>>,
        redirect: Option<Hidden<String>>,
        body: Option<Hidden<Bytes>>,
        malformed: bool,
        empty: bool,
        html: bool,
        close: Option<Stage>,
        reset: Option<Stage>,
        #[serde(skip)]
        answer: Option<Hidden<Answer>>,
        #[serde(skip)]
        respond: Option<Responder>,
    }
    change: {
        fields: BTreeMap<String, Defect>,
        without: Option<String>,
        expires_in: Option<Span>,
        expired_for: Option<Span>,
        expiration: Option<TimeFormat>,
        same_again: bool,
        headers: Headers,
        retry_after: Option<Span>,
        byte_order_mark: bool,
        gzip: bool,
        oversize: bool,
        chunked: bool,
        latency: Option<Span>,
        stall: Stalls,
        hold: Holds,
        drip: Option<Span>,
        refuse: Option<Span>,
        unreachable: Option<Span>,
    }
    requests: {
        operation: Option<Operation>,
        count: Option<usize>,
        nth: Option<usize>,
        always: bool,
        pod: Option<String>,
        token: Option<TokenChoice>,
        after: Option<Span>,
        lasting: Option<Span>,
        until: Option<GateChoice>,
        optional: bool,
    }
}

/// Faults that answer.
impl Fault {
    /// Answers with an error of this name, such as `ThrottlingException`: one of EKS Auth, or for another
    /// operation one of [`ApiErrorCode`](crate::ApiErrorCode). The mock agent passes it on as the official
    /// agent does.
    pub fn error(name: impl Into<String>) -> Self {
        Self {
            error: Some(name.into()),
            ..Self::default()
        }
    }

    /// Answers with this status, from 200 to 599. The mock agent sends what the official agent sends with
    /// it: 429 is its own limiter, 403 a wrong host, 400, 404, 500 and 503 are passed on from EKS Auth;
    /// other statuses have their usual name. The mock of EKS Auth sends no body.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Answers with this status and text, as a proxy in between might.
    pub fn text(status: u16, text: impl fmt::Display) -> Self {
        Self {
            text: Some(Hidden(text.to_string())),
            ..Self::status(status)
        }
    }

    /// Answers with a redirect, with a status from 300 to 399.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self {
            redirect: Some(Hidden(location.into())),
            ..Self::status(status)
        }
    }

    /// Answers 200 with this body and the content type of JSON.
    pub fn body(body: impl Into<Bytes>) -> Self {
        Self {
            body: Some(Hidden(body.into())),
            ..Self::default()
        }
    }

    /// Answers 200 with truncated JSON.
    pub fn malformed() -> Self {
        Self {
            malformed: true,
            ..Self::default()
        }
    }

    /// Answers 200 with an empty body.
    pub fn empty() -> Self {
        Self {
            empty: true,
            ..Self::default()
        }
    }

    /// Answers 200 with a page of HTML, as a captive portal or a wrong proxy does.
    pub fn html() -> Self {
        Self {
            html: true,
            ..Self::default()
        }
    }

    /// Closes the connection at a stage: within the body it is truncated, after it the client's next
    /// request on this connection fails without warning.
    pub fn close(stage: Stage) -> Self {
        Self {
            close: Some(stage),
            ..Self::default()
        }
    }

    /// Resets the connection at a stage.
    pub fn reset(stage: Stage) -> Self {
        Self {
            reset: Some(stage),
            ..Self::default()
        }
    }

    /// Answers with this response.
    pub fn answer<B: Into<Bytes>>(answer: Response<B>) -> Self {
        Self {
            answer: Some(Hidden(answer.map(Into::into))),
            ..Self::default()
        }
    }

    /// Answers with the response that the closure returns for the request.
    pub fn respond<B: Into<Bytes>>(
        answer: impl Fn(&Request<Bytes>) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        Self {
            respond: Some(Responder::new(answer)),
            ..Self::default()
        }
    }
}

/// Faults that change an answer.
impl Fault {
    /// Changes a member of a success: a [`Field`](crate::Field) of the agent's, or of another JSON answer
    /// a path joined by dots, such as `credentials.expiration`.
    pub fn field(path: impl Into<String>, defect: Defect) -> Self {
        Self {
            fields: BTreeMap::from([(path.into(), defect)]),
            ..Self::default()
        }
    }

    /// Removes a member from a success of the mock of EKS Auth: its path joined by dots, such as
    /// `credentials.expiration` or `podIdentityAssociation`.
    pub fn without(path: impl Into<String>) -> Self {
        Self {
            without: Some(path.into()),
            ..Self::default()
        }
    }

    /// Makes the credentials of a success expire this long from now. The mock agent serves them even if
    /// that is soon; the official agent never would.
    pub fn expires_in(time: Duration) -> Self {
        Self {
            expires_in: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Makes the credentials of a success have expired this long ago.
    pub fn expired_for(time: Duration) -> Self {
        Self {
            expired_for: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Writes the expiration of the agent's success in another format.
    pub fn expiration(format: TimeFormat) -> Self {
        Self {
            expiration: Some(format),
            ..Self::default()
        }
    }

    /// Serves the credentials of the agent's last success again, if there was one.
    pub fn same_again() -> Self {
        Self {
            same_again: true,
            ..Self::default()
        }
    }

    /// Adds a header to any answer, or replaces it.
    pub fn header(name: HeaderName, value: HeaderValue) -> Self {
        Self {
            headers: Headers::one(name, value),
            ..Self::default()
        }
    }

    /// Asks the client to wait for this long before it tries again: with `Retry-After` of the agent, in
    /// whole seconds, or `x-amz-retry-after` of EKS Auth, in milliseconds.
    pub fn retry_after(time: Duration) -> Self {
        Self {
            retry_after: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Puts a byte order mark before the body.
    pub fn byte_order_mark() -> Self {
        Self {
            byte_order_mark: true,
            ..Self::default()
        }
    }

    /// Compresses the body with gzip, with `Content-Encoding`, whether or not the client accepts it.
    pub fn gzip() -> Self {
        Self {
            gzip: true,
            ..Self::default()
        }
    }

    /// Fills the body up to 64 KiB and one byte with white space, which JSON allows.
    pub fn oversize() -> Self {
        Self {
            oversize: true,
            ..Self::default()
        }
    }

    /// Sends the body in chunks instead of with its length.
    pub fn chunked() -> Self {
        Self {
            chunked: true,
            ..Self::default()
        }
    }
}

/// Faults that delay an answer.
impl Fault {
    /// Waits before the answer, on tokio's clock.
    pub fn latency(time: Duration) -> Self {
        Self {
            latency: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Waits at a stage until the client disconnects, the mock stops, or the faults are cleared.
    pub fn stall(stage: Stage) -> Self {
        Self {
            stall: Stalls([stage].into()),
            ..Self::default()
        }
    }

    /// Waits at a stage until the gate is released.
    pub fn hold(stage: Stage, gate: &Gate) -> Self {
        Self {
            hold: Holds([(stage, Some(gate.clone()))].into()),
            ..Self::default()
        }
    }

    /// Sends byte by byte, each this long after the one before, on tokio's clock.
    pub fn drip(interval: Duration) -> Self {
        Self {
            drip: Some(Span(interval)),
            ..Self::default()
        }
    }

    /// Closes the port and every connection for this long, by the mock's clock. It can only be combined
    /// with [`after`](Self::after).
    pub fn refuse(time: Duration) -> Self {
        Self {
            refuse: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Leaves every attempt to connect without an answer for this long, by the mock's clock, and closes every
    /// connection, so that clients run into their connect timeout: the port listens, but its queue is full. It
    /// can only be combined with [`after`](Self::after).
    pub fn unreachable(time: Duration) -> Self {
        Self {
            unreachable: Some(Span(time)),
            ..Self::default()
        }
    }

    /// Adds the effects of the other fault, for the same requests. Where both have a member, that of `self` is kept.
    pub fn and(mut self, other: Self) -> Self {
        self.absorb(other);
        self
    }
}

/// The requests that a fault applies to. All conditions must match, and only matching requests are counted.
impl Fault {
    /// Applies to this many requests: the next ones that no earlier fault of the queue takes. Defaults to 1.
    pub fn times(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// Applies to the `n`th request after the injection, counted from 1.
    pub fn nth(mut self, n: usize) -> Self {
        self.nth = Some(n);
        self
    }

    /// Applies to every request, until the faults are cleared. This is the default of a fault that
    /// [lasts](Self::lasting) for a while or [until](Self::until) a gate is released.
    pub fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// Applies to requests to this operation of the mock of EKS Auth or of the API server. Defaults to
    /// [`AssumeRoleForPodIdentity`](Operation::AssumeRoleForPodIdentity); the mock of the API server has no default.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Applies to requests with this token.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(TokenChoice::Digest(TokenDigest::of(token.as_bytes())));
        self
    }

    /// Applies to requests to the mock agent with a token of its own volume: 0 for the current one, 1 for the
    /// previous one.
    pub fn token_age(mut self, age: usize) -> Self {
        self.token = Some(TokenChoice::Age(age));
        self
    }

    /// Applies to requests with a token of the pod of this name.
    pub fn pod(mut self, name: impl Into<String>) -> Self {
        self.pod = Some(name.into());
        self
    }

    /// Applies from this long after the injection on, by the mock's clock.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(Span(time));
        self
    }

    /// Applies for this long by the mock's clock, from the injection on, or from the end of
    /// [`after`](Self::after).
    pub fn lasting(mut self, time: Duration) -> Self {
        self.lasting = Some(Span(time));
        self
    }

    /// Does not fail the test if no request meets it. Without this, a mock that is dropped, or
    /// [verified](crate::MockAgent::verify), panics if a fault had no effect: the test then shows nothing about it.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Applies until the gate is released.
    pub fn until(mut self, gate: &Gate) -> Self {
        self.until = Some(GateChoice::Gate(gate.clone()));
        self
    }
}

impl Fault {
    /// Checks the rules that are the same for every mock.
    pub(crate) fn check(&self) -> Result<(), FaultError> {
        let answers = self.exclusive_answers();
        if answers.len() > 1 {
            return Err(FaultError::TwoAnswers(answers.join(" and ")));
        }
        if let Some(member) = self.zero_length() {
            return Err(FaultError::NoTime(member));
        }
        if self.outage().is_some() {
            return self.check_outage();
        }
        let is_empty = self.members().iter().all(|member| *member == "message");
        if is_empty {
            return Err(FaultError::Nothing);
        }
        if self.hold.0.values().any(Option::is_none) && self.until.is_none() {
            return Err(FaultError::Needs("hold", "until"));
        }
        if self.message.is_some() && self.error.is_none() {
            return Err(FaultError::Needs("message", "error"));
        }
        if self.expires_in.is_some() && self.expired_for.is_some() {
            return Err(FaultError::Both("expires_in and expired_for"));
        }
        self.check_status()?;
        self.requests().map(drop)
    }

    /// Returns how many requests the fault applies to: one by default, all if the fault has an end.
    pub(crate) fn requests(&self) -> Result<Requests, FaultError> {
        let has_an_end = self.lasting.is_some() || self.until.is_some();
        match (self.count, self.nth, self.always) {
            (Some(0), ..) => Err(FaultError::Zero("count")),
            (_, Some(0), _) => Err(FaultError::Zero("nth")),
            (Some(count), None, false) => Ok(Requests::Next(count)),
            (None, Some(n), false) => Ok(Requests::Nth(n)),
            (None, None, always) if always || has_an_end => Ok(Requests::Always),
            (None, None, _) => Ok(Requests::Next(1)),
            _ => Err(FaultError::Both("count, nth and always")),
        }
    }

    /// Returns for how long nobody can connect, if that is the fault.
    pub(crate) fn outage(&self) -> Option<Duration> {
        let time = self.refuse.or(self.unreachable)?;
        Some(time.0)
    }

    /// Returns the name of the gate that the fault waits for, if it has one.
    pub(crate) fn gate_name(&self) -> Option<&str> {
        match &self.until {
            Some(GateChoice::Named(name)) => Some(name),
            _ => None,
        }
    }

    /// Returns whether the fault has no effect any more.
    pub(super) fn is_spent(&self) -> bool {
        let is_open = |gate: &Option<Gate>| gate.as_ref().is_some_and(Gate::is_released);
        self.members() == ["hold"] && self.hold.0.values().all(is_open)
    }

    /// Whether it changes a success, so that an error of the mock's own leaves it without effect.
    pub(super) fn needs_success(&self) -> bool {
        let of_success = |member: &&str| CHANGES_OF_SUCCESS.contains(member);
        !self.answers() && self.members().iter().any(of_success)
    }

    /// With this gate where it waits for that of `until`.
    pub(super) fn held_at(mut self, gate: &Gate) -> Self {
        for held in self.hold.0.values_mut() {
            held.get_or_insert_with(|| gate.clone());
        }
        self
    }

    /// Returns a member whose length is zero although that has no effect.
    fn zero_length(&self) -> Option<&'static str> {
        let lengths = [
            ("expired_for", self.expired_for),
            ("latency", self.latency),
            ("drip", self.drip),
            ("refuse", self.refuse),
            ("unreachable", self.unreachable),
            ("lasting", self.lasting),
            ("after", self.after),
        ];
        let is_zero = |length: Option<Span>| length.is_some_and(|length| length.0.is_zero());
        let zero = lengths.into_iter().find(|(_, length)| is_zero(*length));
        zero.map(|(member, _)| member)
    }

    fn check_outage(&self) -> Result<(), FaultError> {
        let (member, beside) = match self.refuse {
            Some(_) => ("refuse", self.unreachable),
            None => ("unreachable", None),
        };
        let only = Self {
            refuse: None,
            unreachable: beside,
            after: None,
            optional: false,
            ..self.clone()
        };
        // A fault without members shows none.
        if format!("{only:?}") == "Fault" {
            Ok(())
        } else {
            Err(FaultError::Outage(member))
        }
    }

    fn check_status(&self) -> Result<(), FaultError> {
        match (self.status, &self.text, &self.redirect) {
            (Some(status), ..) if !(200..600).contains(&status) => Err(FaultError::Status(status)),
            (_, Some(_), Some(_)) => Err(FaultError::Both("text and redirect")),
            (None, Some(_), None) => Err(FaultError::Needs("text", "status")),
            (Some(status), None, Some(_)) if !(300..400).contains(&status) => {
                Err(FaultError::Redirect(status))
            }
            (_, None, Some(location)) if HeaderValue::from_str(&location.0).is_err() => {
                Err(FaultError::Header("the location of redirect".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Returns the members that are set and exclude each other.
    fn exclusive_answers(&self) -> Vec<&'static str> {
        let status = self.status.is_some() || self.text.is_some() || self.redirect.is_some();
        let answers = [
            ("error", self.error.is_some()),
            ("status", status),
            ("body", self.body.is_some()),
            ("malformed", self.malformed),
            ("empty", self.empty),
            ("html", self.html),
            ("close", self.close.is_some()),
            ("reset", self.reset.is_some()),
            ("answer", self.answer.is_some()),
            ("respond", self.respond.is_some()),
        ];
        let there = answers.into_iter().filter(|(_, is_there)| *is_there);
        there.map(|(name, _)| name).collect()
    }
}

const CHANGES_OF_SUCCESS: [&str; 6] = [
    "fields",
    "without",
    "expires_in",
    "expired_for",
    "expiration",
    "same_again",
];
