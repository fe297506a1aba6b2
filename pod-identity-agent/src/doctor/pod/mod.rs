//! The walk in a pod, from its environment to the credentials.

mod address;
mod answer;
mod caller;
mod credentials;
mod earlier_sources;
mod environment;
mod fallback;
mod known;
mod proxy;
mod token;

use crate::doctor::findings::OLD_SDK;
use crate::doctor::pod::known::Known;
use crate::doctor::report::Report;
use crate::doctor::step::{Step, walk};
use crate::doctor::surroundings::Surroundings;

/// Walks the chain of one process. With `call_sts` the credentials are also used, for
/// `sts:GetCallerIdentity`, which needs no permission.
pub(crate) async fn examine(around: Surroundings, call_sts: bool) -> Report {
    let mut known = Known::new(around, call_sts);
    Report {
        place: "pod",
        taken: walk(&STEPS, &mut known).await,
        hint: Some(&OLD_SDK),
    }
}

const STEPS: [Step<Known>; 9] = [
    Step {
        name: "environment",
        run: |known| Box::pin(environment::check(known)),
    },
    Step {
        name: "earlier sources",
        run: |known| Box::pin(earlier_sources::check(known)),
    },
    Step {
        name: "token",
        run: |known| Box::pin(token::check(known)),
    },
    Step {
        name: "proxy",
        run: |known| Box::pin(proxy::check(known)),
    },
    Step {
        name: "address",
        run: |known| Box::pin(address::check(known)),
    },
    Step {
        name: "answer",
        run: |known| Box::pin(answer::check(known)),
    },
    Step {
        name: "credentials",
        run: |known| Box::pin(credentials::check(known)),
    },
    Step {
        name: "caller identity",
        run: |known| Box::pin(caller::check(known)),
    },
    Step {
        name: "role of the node",
        run: |known| Box::pin(fallback::check(known)),
    },
];
