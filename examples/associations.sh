#!/usr/bin/env bash
# The whole path, offline: the AWS CLI creates, lists, describes, updates and deletes an association of
# the mock; a boto3 client gets credentials for a pod's projected token from the real agent, and
# `get-caller-identity` names the association's role and the pod's session.
#
#     pip install -r examples/requirements.txt
#     examples/associations.sh
#
# Needs cargo, `aws` (version 1 or 2) and a python3 with boto3. Fails at the first answer that is not as
# expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Nothing of the caller's own account may leak in, and loopback is not behind a proxy.
unset "${!AWS_@}"
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_PAGER="" NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

source .ci/programs
scratch=$(mktemp -d)
trap 'kill "${mock:-}" "${agent:-}" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# wait_for PATTERN FILE PID
wait_for() {
  until grep -qs -- "$1" "$2"; do
    kill -0 "$3"
    sleep 0.05
  done
}

# is WHAT GOT WANTED
is() {
  [ "$2" = "$3" ] || { echo "$1: $2, not $3" >&2; exit 1; }
  echo "$1: $2"
}

echo "# 1. The AWS side of a cluster; every signature is verified"
"$POD_IDENTITY_TESTKIT" eks --signatures enforce \
  --namespace shop --service-account cart >"$scratch/ready" &
mock=$!
wait_for endpoint "$scratch/ready" "$mock"
field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$scratch/ready"; }
endpoint=$(field endpoint)
cluster=$(field cluster)
AWS_DEFAULT_REGION=$(field region)
AWS_ACCESS_KEY_ID=$(field access_key_id)
AWS_SECRET_ACCESS_KEY=$(field secret_access_key)
export AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
eks() {
  aws eks "$1" --endpoint-url "$endpoint" --cluster-name "$cluster" --output text "${@:2}"
}

echo "# 2. An association, by the AWS CLI"
id=$(eks create-pod-identity-association --namespace shop --service-account cart \
  --role-arn arn:aws:iam::111122223333:role/cart --query association.associationId)
is 'listed' "$(eks list-pod-identity-associations --query 'associations[].associationId')" "$id"
role() { eks describe-pod-identity-association --association-id "$id" --query association.roleArn; }
is 'described' "$(role)" arn:aws:iam::111122223333:role/cart
eks update-pod-identity-association --association-id "$id" \
  --role-arn arn:aws:iam::111122223333:role/checkout >"$scratch/updated"
is 'updated' "$(role)" arn:aws:iam::111122223333:role/checkout

echo "# 3. The agent, as on a node"
AWS_REGION=$AWS_DEFAULT_REGION "$POD_IDENTITY_AGENT" server \
  --cluster-name "$cluster" --endpoint "$endpoint" \
  --bind-hosts 127.0.0.1 --port 0 --probe-port 0 --metrics-address 127.0.0.1 --metrics-port 0 \
  >"$scratch/agent" 2>&1 &
agent=$!
wait_for '"listener":"credentials"' "$scratch/agent" "$agent"
address=$(sed -nE '/"listener":"credentials"/s/.*"address":"([^"]*)".*/\1/p' "$scratch/agent" | head -n 1)

echo "# 4. A pod with a projected token, and nothing else to authenticate with"
env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY \
  AWS_CONTAINER_CREDENTIALS_FULL_URI="http://$address/v1/credentials" \
  AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="$(field token_file)" \
  ENDPOINT="$endpoint" python3 - <<'PYTHON'
import boto3, os

session = boto3.Session()
assert session.get_credentials().method == "container-role"
caller = session.client("sts", endpoint_url=os.environ["ENDPOINT"]).get_caller_identity()
print("the pod is:", caller["Arn"])
assert caller["Account"] == "111122223333"
role_and_session = "arn:aws:sts::111122223333:assumed-role/checkout/eks-test-cluster-cart-"
assert caller["Arn"].startswith(role_and_session), caller["Arn"]
PYTHON

echo "# 5. The association goes"
eks delete-pod-identity-association --association-id "$id" >"$scratch/deleted"
is 'left' "$(eks list-pod-identity-associations --query 'length(associations)')" 0
