use aws_config::SdkConfig;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_types::service_config::ServiceConfigKey;

/// Returns the URL of EKS, without a slash at its end: that of the service's own settings, of all services, or
/// of the region. `None` if the region belongs to no partition.
pub(crate) async fn endpoint_of_eks(
    config: &SdkConfig,
    of_all_services: Option<&str>,
) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("EKS")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let settings = config.service_config();
    let of_service = settings.and_then(|settings| settings.load_config(key));
    if let Some(url) = of_service.as_deref().or(of_all_services) {
        return Some(url.trim_end_matches('/').to_owned());
    }
    // The rules of STS know the suffix of each partition, and are in the program already.
    let params = Params::builder()
        .region(config.region()?.to_string())
        .use_global_endpoint(false)
        .build()
        .ok()?;
    let resolved = DefaultResolver::new()
        .resolve_endpoint(&params)
        .await
        .ok()?;
    let region = resolved.url().strip_prefix("https://sts.")?;
    let is_fips = config.use_fips() == Some(true) && !region.starts_with("us-gov-");
    let host = if is_fips { "fips.eks" } else { "eks" };
    Some(format!("https://{host}.{region}"))
}

#[cfg(test)]
mod tests {
    use aws_config::Region;

    use super::*;

    #[tokio::test]
    async fn the_endpoint_is_that_of_the_region_in_its_partition() {
        for (region, is_fips, url) in [
            ("us-west-2", false, "https://eks.us-west-2.amazonaws.com"),
            (
                "us-east-1",
                true,
                "https://fips.eks.us-east-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                "https://eks.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                "https://eks.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            let region = Region::new(region);
            let config = SdkConfig::builder()
                .region(region)
                .use_fips(is_fips)
                .build();
            assert_eq!(endpoint_of_eks(&config, None).await.as_deref(), Some(url));
        }
        let config = SdkConfig::builder().build();
        assert_eq!(endpoint_of_eks(&config, None).await, None);
    }
}
