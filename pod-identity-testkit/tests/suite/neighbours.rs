//! The calls of EKS that pipelines make around associations.

use http::Method;
use pod_identity_testkit::{MockEksAuth, Operation};
use serde_json::{Value, json};

use crate::common::{Answered, Client, NOW, ROLE, assume, shop, signed};

const ADDONS: &str = "/clusters/test-cluster/addons";

async fn call(eks: &MockEksAuth, method: Method, path: &str, body: Value) -> Answered {
    let request = signed(path).method(method);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut client = Client::connect(eks).await.unwrap();
    client
        .send(request.body(body.into()).unwrap())
        .await
        .unwrap()
}

async fn get(eks: &MockEksAuth, path: &str) -> Answered {
    call(eks, Method::GET, path, Value::Null).await
}

#[tokio::test]
async fn the_cluster_is_described_with_what_a_kubeconfig_needs() {
    let (eks, _clock) = shop().await;
    assert_eq!(
        get(&eks, "/clusters").await.json(),
        json!({ "clusters": ["test-cluster"] })
    );
    let cluster = get(&eks, "/clusters/test-cluster").await.json()["cluster"].clone();
    assert_eq!(
        cluster["arn"],
        "arn:aws:eks:us-west-2:111122223333:cluster/test-cluster"
    );
    assert_eq!(cluster["status"], "ACTIVE");
    assert_eq!(cluster["identity"]["oidc"]["issuer"], eks.issuer().url());
    assert_eq!(cluster["createdAt"], NOW.as_unix_secs());
    let host = cluster["endpoint"].as_str().unwrap();
    assert!(host.ends_with(".gr7.us-west-2.eks.amazonaws.com"), "{host}");
    let unknown = get(&eks, "/clusters/prod").await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (404, "ResourceNotFoundException")
    );

    let builder = MockEksAuth::builder().api_server("https://127.0.0.1:6443", "PEM");
    let eks = builder.start().await.unwrap();
    let cluster = get(&eks, "/clusters/test-cluster").await.json()["cluster"].clone();
    assert_eq!(cluster["endpoint"], "https://127.0.0.1:6443");
    assert_eq!(cluster["certificateAuthority"]["data"], "UEVN");
}

#[tokio::test]
async fn an_addon_creates_its_associations_and_deletes_them() {
    let (eks, _clock) = shop().await;
    let body = json!({
        "addonName": "aws-ebs-csi-driver",
        "podIdentityAssociations": [{ "serviceAccount": "ebs-csi-controller-sa", "roleArn": ROLE }],
    });
    let created = call(&eks, Method::POST, ADDONS, body.clone()).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let addon = created.json()["addon"].clone();
    assert_eq!(addon["status"], "ACTIVE");
    let again = call(&eks, Method::POST, ADDONS, body).await;
    assert_eq!(
        (again.status, again.code()),
        (409, "ResourceInUseException")
    );

    let one = format!("{ADDONS}/aws-ebs-csi-driver");
    assert_eq!(get(&eks, &one).await.json()["addon"], addon);
    assert_eq!(
        get(&eks, ADDONS).await.json(),
        json!({ "addons": ["aws-ebs-csi-driver"] })
    );
    let associations = "/clusters/test-cluster/pod-identity-associations?namespace=kube-system";
    let listed = get(&eks, associations).await.json()["associations"].clone();
    assert_eq!(listed[0]["ownerArn"], addon["addonArn"]);
    assert_eq!(
        listed[0]["associationArn"],
        addon["podIdentityAssociations"][0]
    );
    let token = eks
        .issuer()
        .token("kube-system", "ebs-csi-controller-sa")
        .mint(NOW);
    assert_eq!(assume(&eks, &token).await.status, 200);

    let update = json!({ "podIdentityAssociations": [], "addonVersion": "v2" });
    let updated = call(&eks, Method::POST, &format!("{one}/update"), update).await;
    assert_eq!(updated.json()["update"]["status"], "Successful");
    assert_eq!(get(&eks, &one).await.json()["addon"]["addonVersion"], "v2");
    assert_eq!(assume(&eks, &token).await.status, 404);

    let deleted = call(&eks, Method::DELETE, &one, Value::Null).await;
    assert_eq!(deleted.json()["addon"]["status"], "DELETING");
    let gone = get(&eks, &one).await;
    assert_eq!(
        (gone.status, gone.code()),
        (404, "ResourceNotFoundException")
    );
    assert_eq!(eks.requests()[0].operation, Operation::CreateAddon);
}

#[tokio::test]
async fn an_association_of_an_addon_is_validated_like_any_other() {
    let (eks, _clock) = shop().await;
    for (association, code) in [
        (
            json!({ "serviceAccount": "a", "roleArn": "cart" }),
            "InvalidParameterException",
        ),
        (
            json!({ "serviceAccount": "A", "roleArn": ROLE }),
            "InvalidParameterException",
        ),
        (json!({ "roleArn": ROLE }), "SerializationException"),
        (json!(["a", ROLE]), "SerializationException"),
    ] {
        let body = json!({ "addonName": "vpc-cni", "podIdentityAssociations": [association] });
        let refused = call(&eks, Method::POST, ADDONS, body).await;
        assert_eq!((refused.status, refused.code()), (400, code));
    }
    assert_eq!(get(&eks, ADDONS).await.json(), json!({ "addons": [] }));
}

#[tokio::test]
async fn the_versions_of_an_addon_are_listed() {
    let (eks, _clock) = shop().await;
    let versions = get(&eks, "/addons/supported-versions?addonName=vpc-cni")
        .await
        .json();
    let addon = &versions["addons"][0];
    assert_eq!(addon["addonName"], "vpc-cni");
    let compatible = &addon["addonVersions"][0]["compatibilities"][0];
    assert_eq!(compatible["clusterVersion"], "1.34");
}
