use std::future::{Future, Ready, ready};

use futures_util::future::{BoxFuture, Either, FutureExt};

/// What is there already, as it mostly is, or will be. Only what is waited for is on the heap.
pub(crate) type AtHand<'a, T> = Either<Ready<T>, BoxFuture<'a, T>>;

pub(crate) fn now<'a, T>(value: T) -> AtHand<'a, T> {
    Either::Left(ready(value))
}

pub(crate) fn later<'a, T>(value: impl Future<Output = T> + Send + 'a) -> AtHand<'a, T> {
    Either::Right(value.boxed())
}
