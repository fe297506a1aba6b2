/// Implements [`Seen`](crate::Seen) and [`Record`](crate::mock::mock::Record) for a record with the fields `at`,
/// `connection`, `in_flight` and `outcome`, and with the methods `in_one_line` and `asked_by`.
macro_rules! record {
    ($record:ident) => {
        impl crate::mock::mock::Record for $record {
            fn requester(&self) -> crate::fault::requester::Requester<'_> {
                self.asked_by()
            }

            fn conclude(&mut self, outcome: crate::Outcome) {
                self.outcome = Some(outcome);
            }
        }

        impl crate::Seen for $record {
            fn at(&self) -> pod_identity_core::Timestamp {
                self.at
            }

            fn connection(&self) -> u64 {
                self.connection
            }

            fn in_flight(&self) -> usize {
                self.in_flight
            }

            fn outcome(&self) -> Option<&crate::Outcome> {
                self.outcome.as_ref()
            }

            fn line(&self) -> String {
                self.in_one_line()
            }
        }
    };
}

pub(crate) use record;
