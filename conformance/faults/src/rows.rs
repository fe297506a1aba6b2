use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Defect, Fault, Field, Stage, TimeFormat, TokenDefect};

use crate::row::{Group, Row, Second, TokenFileState, Trouble};

/// Returns the groups of the table, in order. `coverage` checks that they are complete.
pub(crate) fn groups() -> Vec<Group> {
    vec![
        Group {
            title: "No fault",
            about: "",
            rows: vec![Row::new(
                "a working agent",
                "",
                Trouble::Answers(Vec::new()),
            )],
        },
        Group {
            title: "Errors",
            about: "The first nine are errors of EKS Auth, as the official agent passes them on.",
            rows: errors(),
        },
        Group {
            title: "Hints, redirects and quoted tokens",
            about: "",
            rows: hints(),
        },
        Group {
            title: "Broken connections",
            about: "",
            rows: breaks(),
        },
        Group {
            title: "Slow answers",
            about: "The cell names the time within which a client failed.",
            rows: delays(),
        },
        Group {
            title: "Bodies",
            about: "",
            rows: bodies(),
        },
        Group {
            title: "Members of a success",
            about: "",
            rows: members(),
        },
        Group {
            title: "Expirations",
            about: "",
            rows: expirations(),
        },
        Group {
            title: "The token's file",
            about: "The number of requests is 0 if a client sends none with such a token.",
            rows: token_files(),
        },
        Group {
            title: "Renewal of a held set",
            about: "A client holds a set with this much time left, and is asked for credentials a second \
                    time. The number counts the requests that follow, those in the background too. A \
                    client that renews in the background may have the new set only the next time.",
            rows: renewals(),
        },
    ]
}

fn errors() -> Vec<Row> {
    let mut codes = ErrorCode::ALL;
    codes.sort_by_key(|code| code.status());
    let of_service = codes.map(|code| {
        let name = code.name().trim_end_matches("Exception");
        Row::answers(format!("{} from EKS Auth", code.status()), name, code)
    });
    let plain = STATUSES.map(|status| {
        let usual = StatusCode::from_u16(status).ok();
        let reason = usual.and_then(|status| status.canonical_reason());
        Row::answers(
            format!("{status}"),
            reason.unwrap_or_default(),
            Fault::status(status),
        )
    });
    let limiter = Row::new(
        "429",
        "the agent's own limiter, after 500 requests",
        Trouble::Limiter,
    );
    of_service
        .into_iter()
        .chain(plain)
        .chain([limiter])
        .collect()
}

fn hints() -> Vec<Row> {
    let after = Duration::from_secs(3);
    let hinted = |status| {
        // In this order: a fault that is queued behind an answer applies to the next request.
        let faults = vec![Fault::retry_after(after), Fault::status(status)];
        Row::new(
            format!("{status} with `Retry-After: 3`"),
            "",
            Trouble::Hint(faults, after),
        )
    };
    let redirects = REDIRECTS
        .map(|status| Row::new("redirect", status.to_string(), Trouble::Elsewhere(status)));
    let echo = Fault::respond(|request| {
        let token = request.headers().get(http::header::AUTHORIZATION);
        let body = [
            b"unknown token ",
            token.map(HeaderValue::as_bytes).unwrap_or_default(),
        ]
        .concat();
        let mut answer = Response::new(body);
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
    });
    [hinted(429), hinted(503)]
        .into_iter()
        .chain(redirects)
        .chain([Row::answers("400 that quotes the token", "", echo)])
        .collect()
}

fn breaks() -> Vec<Row> {
    let short = Duration::from_millis(700);
    let absent = [
        Row::new("connection refused", "always", Trouble::Absent),
        Row::new(
            "connection refused",
            format!("for {short:?}"),
            Trouble::Outage(short),
        ),
    ];
    let closed =
        STAGES.map(|stage| Row::answers("connection closed", at(stage), Fault::close(stage)));
    let reset =
        STAGES.map(|stage| Row::answers("connection reset", at(stage), Fault::reset(stage)));
    let chunked = Row::new(
        "connection closed",
        "in a chunked body",
        Trouble::Answers(vec![Fault::chunked(), Fault::close(Stage::InBody)]),
    );
    absent
        .into_iter()
        .chain(closed)
        .chain([chunked])
        .chain(reset)
        .collect()
}

fn delays() -> Vec<Row> {
    let unanswered = Row::new("attempt to connect", "never answered", Trouble::Unreachable);
    let late = [500, 1500, 3000, 6000].map(|millis| {
        let time = Duration::from_millis(millis);
        Row::answers("answer", format!("after {time:?}"), Fault::latency(time))
    });
    let dripping = [1, 10].map(|millis| {
        let time = Duration::from_millis(millis);
        Row::answers(
            "answer",
            format!("a byte every {time:?}"),
            Fault::drip(time),
        )
    });
    let paused = STAGES.map(|stage| Row::new("answer pauses", at(stage), Trouble::Pause(stage)));
    let stalled = STAGES.map(|stage| Row::answers("answer stalls", at(stage), Fault::stall(stage)));
    [unanswered]
        .into_iter()
        .chain(late)
        .chain(dripping)
        .chain(paused)
        .chain(stalled)
        .map(Row::timed)
        .collect()
}

fn bodies() -> Vec<Row> {
    let plain = Fault::header(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    vec![
        Row::answers("body", "in chunks", Fault::chunked()),
        Row::answers("body", "declared as plain text", plain),
        Row::answers("body", "after a byte order mark", Fault::byte_order_mark()),
        Row::answers("body", "gzip, unrequested", Fault::gzip()),
        Row::answers(
            "body",
            "larger than 64 KiB, mostly white space",
            Fault::oversize(),
        ),
        Row::answers("body", "empty", Fault::empty()),
        Row::answers("body", "truncated JSON", Fault::malformed()),
        Row::answers("body", "a page of HTML", Fault::html()),
    ]
}

fn members() -> Vec<Row> {
    let of = |field: Field| {
        defects(field).into_iter().map(move |(what, defect)| {
            Row::answers(
                format!("`{}`", field.name()),
                what,
                Fault::field(field, defect),
            )
        })
    };
    Field::ALL.into_iter().flat_map(of).collect()
}

fn defects(field: Field) -> [(String, Defect); 7] {
    let other = match field {
        Field::AccessKeyId => "AccessKey",
        Field::SecretAccessKey => "SecretKey",
        Field::Token => "SessionToken",
        Field::AccountId => "Account",
        _ => "ExpiresAt",
    };
    [
        ("missing".to_owned(), Defect::Missing),
        ("null".to_owned(), Defect::Null),
        ("empty".to_owned(), Defect::Empty),
        ("an array".to_owned(), Defect::WrongType),
        ("in lower case".to_owned(), Defect::LowerCase),
        ("in upper case".to_owned(), Defect::UpperCase),
        (
            format!("named `{other}`"),
            Defect::Renamed(other.to_owned()),
        ),
    ]
}

fn expirations() -> Vec<Row> {
    let written = |what, format| Row::answers("expiration", what, Fault::expiration(format));
    let left = |what, secs| {
        Row::answers(
            "expiration",
            what,
            Fault::expires_in(Duration::from_secs(secs)),
        )
    };
    let hour = Duration::from_secs(3600);
    vec![
        written("with nanoseconds", TimeFormat::Nanoseconds),
        written("at `+02:00`", TimeFormat::Offset),
        written("a number", TimeFormat::EpochSeconds),
        left("in 10 min", 600),
        left("in 4 min", 240),
        left("in 30 s", 30),
        left("in 5 s", 5),
        Row::answers("expiration", "an hour ago", Fault::expired_for(hour)),
    ]
}

fn token_files() -> Vec<Row> {
    let defective = TokenDefect::ALL.map(|defect| {
        let unnamed = format!("{defect:?}");
        let what = match defect {
            TokenDefect::Newline => "ends in a newline",
            TokenDefect::CrLf => "ends in CR LF",
            TokenDefect::ByteOrderMark => "begins with a byte order mark",
            TokenDefect::Empty => "empty",
            TokenDefect::Partial => "holds half of the token",
            TokenDefect::TooLarge => "larger than 64 KiB",
            TokenDefect::NotUtf8 => "ends in bytes that are not UTF-8",
            TokenDefect::Missing => "missing",
            TokenDefect::Directory => "a directory",
            TokenDefect::Unreadable => "not readable",
            TokenDefect::DanglingLink => "a link to nothing",
            // A new defect has a row at once.
            _ => &unnamed,
        };
        Row::new(
            "token file",
            what,
            Trouble::TokenFile(TokenFileState::Defect(defect)),
        )
    });
    let written = [
        ("written in place, empty so far", TokenFileState::Begun),
        (
            "written in place, half of it so far",
            TokenFileState::HalfWritten,
        ),
        ("replaced with `mv`", TokenFileState::Moved),
        ("not mounted", TokenFileState::Removed),
    ];
    let written =
        written.map(|(what, spoil)| Row::new("token file", what, Trouble::TokenFile(spoil)));
    defective.into_iter().chain(written).collect()
}

fn renewals() -> Vec<Row> {
    let well = || Second::Answers(Vec::new());
    let now = |fault: Fault| Second::Answers(vec![fault]);
    let later = |fault: Fault| Second::Later(vec![fault]);
    let status = Fault::status;
    let denied = || Fault::from(ErrorCode::AccessDenied);
    let gone = || Fault::from(ErrorCode::ResourceNotFound);
    let silence = || Fault::stall(Stage::BeforeHeaders);
    [
        ("12 min left", 720, "a working agent", well()),
        ("12 min left", 720, "503", now(status(503))),
        ("9 min left", 540, "503", now(status(503))),
        ("4 min left", 240, "503", now(status(503))),
        ("90 s left", 90, "a working agent", well()),
        ("90 s left", 90, "503", now(status(503))),
        ("90 s left", 90, "429", now(status(429))),
        ("90 s left", 90, "400 AccessDenied", now(denied())),
        ("90 s left", 90, "404 ResourceNotFound", now(gone())),
        ("90 s left", 90, "no answer", now(silence())),
        ("90 s left", 90, "connection refused", Second::Absent),
        (
            "90 s left",
            90,
            "the same set again",
            now(Fault::same_again()),
        ),
        (
            "90 s left",
            90,
            "the connection was closed meanwhile",
            Second::Closed,
        ),
        (
            "90 s left",
            90,
            "the token was rotated meanwhile",
            Second::Rotated,
        ),
        ("expired", SHORT, "503", later(status(503))),
        ("expired", SHORT, "400 AccessDenied", later(denied())),
        ("expired", SHORT, "404 ResourceNotFound", later(gone())),
        ("expired", SHORT, "no answer", later(silence())),
    ]
    .map(|(left, seconds, what, second)| {
        let life = Duration::from_secs(seconds);
        Row::new(left, what, Trouble::Renewal(life, second))
    })
    .into()
}

fn at(stage: Stage) -> &'static str {
    match stage {
        Stage::BeforeHeaders => "before the headers",
        Stage::InHeaders => "in the headers",
        Stage::InBody => "in the body",
        // The only other stage is the last one; coverage notices new ones.
        _ => "after the body",
    }
}

/// Statuses of an agent, or of a proxy before it.
const STATUSES: [u16; 9] = [400, 401, 403, 404, 429, 500, 502, 503, 504];

const REDIRECTS: [u16; 4] = [301, 302, 307, 308];

const STAGES: [Stage; 4] = [
    Stage::BeforeHeaders,
    Stage::InHeaders,
    Stage::InBody,
    Stage::AfterBody,
];

/// The lifetime in seconds of a set whose expiry is awaited: this provider requires more than 15.
const SHORT: u64 = 16;
