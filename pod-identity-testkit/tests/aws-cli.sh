#!/usr/bin/env bash
# Drives the mock with the real AWS CLI, unchanged: associations, their tags, credentials for a pod's
# token, and whose they are, add-ons, waiters and a kubeconfig. Offline; needs cargo and `aws` (version 1 or 2). Every signature is
# verified. Fails at the first answer that is not as expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

ready=$(mktemp)
trap 'kill "${mock:-}" 2>/dev/null || true; rm -f "$ready"*' EXIT
source .ci/programs
"$POD_IDENTITY_TESTKIT" eks --signatures enforce \
  --namespace shop --service-account cart >"$ready" &
mock=$!
until [ -s "$ready" ]; do
  kill -0 "$mock"
  sleep 0.05
done

field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$ready"; }
endpoint=$(field endpoint)
cluster=$(field cluster)
role=arn:aws:iam::111122223333:role/cart
target=arn:aws:iam::444455556666:role/orders

# Nothing of the caller's own account may leak in, and loopback is not behind a proxy.
unset "${!AWS_@}"
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_PAGER="" AWS_DEFAULT_OUTPUT=text AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
AWS_DEFAULT_REGION=$(field region)
AWS_ACCESS_KEY_ID=$(field access_key_id)
AWS_SECRET_ACCESS_KEY=$(field secret_access_key)

call() { aws "$1" "$2" --endpoint-url "$endpoint" "${@:3}"; }
eks() { call eks "$1" --cluster-name "$cluster" "${@:2}"; }

# is WHAT GOT WANTED
is() {
  [ "$2" = "$3" ] || { echo "$1: $2, not $3" >&2; exit 1; }
  echo "ok: $1"
}

# refused WORDS COMMAND...
refused() {
  local words=$1 output
  shift
  if output=$("$@" 2>&1); then echo "not refused: $*" >&2; exit 1; fi
  [[ $output == *"$words"* ]] || { echo "$output" >&2; exit 1; }
  echo "ok: refused with $words"
}

create() { eks create-pod-identity-association --namespace shop --service-account cart --role-arn "$role" "$@"; }
id=$(create --tags team=web --query association.associationId)
is "its id has 19 characters" "${#id}" 19
refused "(ResourceInUseException) when calling the CreatePodIdentityAssociation operation: Association already exists: $id" create

arn=$(eks list-pod-identity-associations --namespace shop --query 'associations[].associationArn')
is "the list has it" "$arn" "arn:aws:eks:$AWS_DEFAULT_REGION:111122223333:podidentityassociation/$cluster/$id"
is "a filter leaves it out" "$(eks list-pod-identity-associations --namespace bank --query 'length(associations)')" 0

describe() { eks describe-pod-identity-association --association-id "$id" --query "association.$1"; }
is "it has its role" "$(describe roleArn)" "$role"
is "it has its tag" "$(describe tags.team)" web
call eks tag-resource --resource-arn "$arn" --tags a=1,b=2
call eks untag-resource --resource-arn "$arn" --tag-keys a team
is "tags come and go" "$(call eks list-tags-for-resource --resource-arn "$arn" --query 'keys(tags)')" b

is "an update is answered" "$(eks update-pod-identity-association --association-id "$id" \
  --target-role-arn "$target" --disable-session-tags --query association.externalId)" \
  "$AWS_DEFAULT_REGION/111122223333/$cluster/shop/cart"
refused "(InvalidParameterException)" eks update-pod-identity-association --association-id "$id" \
  --no-disable-session-tags --policy '{}'
refused "No cluster found for name: prod." call eks list-pod-identity-associations --cluster-name prod

# The whole path: a pod's token, credentials, whose they are.
read -r key secret token session < <(call eks-auth assume-role-for-pod-identity --cluster-name "$cluster" \
  --token "file://$(field token_file)" --query \
  '[credentials.accessKeyId,credentials.secretAccessKey,credentials.sessionToken,assumedRoleUser.arn]')
whoami() { call sts get-caller-identity --query Arn; }
pod() { AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$token "$@"; }
is "the credentials are those of the session" "$(pod whoami)" "$session"
[[ $session == arn:aws:sts::444455556666:assumed-role/orders/eks-"$cluster"-* ]]
token=other refused "(InvalidClientTokenId)" pod whoami
secret=other refused "(SignatureDoesNotMatch)" pod whoami

is "it is deleted" "$(eks delete-pod-identity-association --association-id "$id" --query association.associationId)" "$id"
refused "(ResourceNotFoundException)" describe roleArn
# What pipelines call around associations. A waiter fails after minutes, so it is not waited for.
soon() { timeout 20 "$@" || { echo "failed: $*" >&2; exit 1; }; }
wait_for() { soon aws eks wait "$1" --endpoint-url "$endpoint" "${@:2}"; echo "ok: aws eks wait $1"; }
addon=(--cluster-name "$cluster" --addon-name vpc-cni)
wait_for cluster-active --name "$cluster"
call eks create-addon "${addon[@]}" --pod-identity-associations "serviceAccount=aws-node,roleArn=$role" --output json >"$ready.addon"
wait_for addon-active "${addon[@]}"
update=$(call eks update-addon "${addon[@]}" --addon-version v2 --query update.id)
is "an update is described" "$(call eks describe-update --name "$cluster" --update-id "$update" --addon-name vpc-cni --query update.status)" Successful
is "an add-on has its service account" "$(call eks describe-addon-configuration --addon-name vpc-cni --addon-version v2 \
  --query 'podIdentityConfiguration[].serviceAccount')" aws-node
call eks delete-addon "${addon[@]}" >"$ready.addon"
wait_for addon-deleted "${addon[@]}"
rm "$ready.addon"
kubeconfig=$ready.kubeconfig
soon aws eks update-kubeconfig --name "$cluster" --endpoint-url "$endpoint" --kubeconfig "$kubeconfig" >"$kubeconfig.out"
grep -q "server: https://.*.gr7.$AWS_DEFAULT_REGION.eks.amazonaws.com" "$kubeconfig"
grep -q "arn:aws:eks:$AWS_DEFAULT_REGION:111122223333:cluster/$cluster" "$kubeconfig"
rm "$kubeconfig" "$kubeconfig.out"
echo "ok: aws eks update-kubeconfig"

# Other services are told what there is, in their own protocol.
refused "this mock has no iam:ListRoles" call iam list-roles
refused "this mock has no sts:AssumeRole" call sts assume-role --role-arn "$role" --role-session-name session
refused "(NotImplemented)" call s3api list-buckets
echo "The AWS CLI gets what it expects: $(aws --version 2>&1)"
