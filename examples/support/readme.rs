//! The code of the READMEs compiles.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../pod-identity-provider/README.md")]
struct ReadmeOfTheProvider;
