/// Returns the partition of a region, as ARNs have it.
pub(crate) fn partition(region: &str) -> &'static str {
    let known = PARTITIONS.iter();
    let known = known.filter(|(prefix, _)| region.starts_with(prefix));
    known.map(|(_, name)| *name).next().unwrap_or("aws")
}

const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];
