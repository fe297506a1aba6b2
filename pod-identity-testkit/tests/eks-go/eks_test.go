// Package eks drives the mock of EKS with the AWS SDK for Go: what pipelines do, and what eksctl does, call by call.
package eks

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	podidentitytestkit "github.com/pod-identity/pod-identity/pod-identity-testkit/clients/go"
)

const (
	role    = "arn:aws:iam::111122223333:role/cart"
	other   = "arn:aws:iam::111122223333:role/checkout"
	target  = "arn:aws:iam::444455556666:role/cart"
	patient = 20 * time.Second
)

// start returns a client that finds the mock as one finds AWS: in the environment.
func start(t *testing.T) (*eks.Client, *string) {
	t.Helper()
	mock := podidentitytestkit.Start(t, "eks", "--signatures", "enforce")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("NO_PROXY", "127.0.0.1")
	for _, name := range mock.Unset {
		t.Setenv(name, "")
	}
	for name, value := range mock.Env {
		t.Setenv(name, value)
	}
	settings, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return eks.NewFromConfig(settings), aws.String(mock.Cluster)
}

// must returns the output of a call that succeeds.
func must[T any](t *testing.T, output T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func refused[E error](t *testing.T, err error) {
	t.Helper()
	var wanted E
	if !errors.As(err, &wanted) {
		t.Fatalf("%v, not a %T", err, wanted)
	}
}

// The calls that eksctl 0.215.0 makes of EKS, in the order of its package pkg/actions/podidentityassociation: migrator.go,
// creator.go and tasks.go, getter.go, updater.go, deleter.go. Its own code is not built here, because it takes 1,045
// packages.
func TestAssociationsAsEksctlManagesThem(t *testing.T) {
	client, cluster := start(t)
	ctx := t.Context()

	// IsPodIdentityAgentInstalled: without auto mode, the agent must be an add-on.
	described, err := client.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: cluster})
	if now := must(t, described, err).Cluster; now.Status != types.ClusterStatusActive || now.ComputeConfig != nil {
		t.Fatal(now)
	}
	agent := aws.String("eks-pod-identity-agent")
	_, err = client.DescribeAddon(ctx, &eks.DescribeAddonInput{AddonName: agent, ClusterName: cluster})
	refused[*types.ResourceNotFoundException](t, err)
	installed, err := client.CreateAddon(ctx, &eks.CreateAddonInput{AddonName: agent, ClusterName: cluster})
	must(t, installed, err)
	addon, err := client.DescribeAddon(ctx, &eks.DescribeAddonInput{AddonName: agent, ClusterName: cluster})
	must(t, addon, err)

	// `create podidentityassociation`: all of a configuration file at the same time.
	accounts := []string{"basket", "cart", "till"}
	failures := make(chan error)
	for _, account := range accounts {
		go func() {
			_, err := client.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
				ClusterName: cluster, Namespace: aws.String("shop"), RoleArn: aws.String(role),
				ServiceAccount: aws.String(account), Tags: map[string]string{"team": "web"},
			})
			failures <- err
		}()
	}
	for range accounts {
		if err := <-failures; err != nil {
			t.Fatal(err)
		}
	}

	// `get podidentityassociation --namespace shop`: one page, and each of its associations.
	listed, err := client.ListPodIdentityAssociations(ctx,
		&eks.ListPodIdentityAssociationsInput{ClusterName: cluster, Namespace: aws.String("shop")})
	var found []string
	for _, summary := range must(t, listed, err).Associations {
		association := describe(t, client, cluster, summary.AssociationId)
		if *association.AssociationArn == "" || *association.Namespace != "shop" || *association.RoleArn != role {
			t.Fatal(association)
		}
		found = append(found, *association.ServiceAccount)
	}
	slices.Sort(found)
	if !slices.Equal(found, accounts) {
		t.Fatal(found)
	}

	// `update podidentityassociation`: exactly one is listed for the service account, and no add-on owns it.
	id := idOf(t, client, cluster, "cart")
	before := describe(t, client, cluster, id)
	updated, err := client.UpdatePodIdentityAssociation(ctx, &eks.UpdatePodIdentityAssociationInput{
		AssociationId: before.AssociationId, ClusterName: cluster, RoleArn: aws.String(other),
		TargetRoleArn: aws.String(target), DisableSessionTags: aws.Bool(true),
	})
	must(t, updated, err)
	after := describe(t, client, cluster, id)
	if *after.RoleArn != other || *after.TargetRoleArn != target || !*after.DisableSessionTags || after.Tags["team"] != "web" || after.OwnerArn != nil ||
		after.ModifiedAt.Before(*after.CreatedAt) {
		t.Fatal(after)
	}

	// `delete podidentityassociation`; the second time it only warns, because none is listed.
	deleted, err := client.DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{
		ClusterName: cluster, AssociationId: idOf(t, client, cluster, "cart"),
	})
	must(t, deleted, err)
	if id := idOf(t, client, cluster, "cart"); id != nil {
		t.Fatal(*id)
	}
}

// What a pipeline may do besides: repeat a request, or make another one for the same service account.
func TestAnAssociationIsCreatedOnce(t *testing.T) {
	client, cluster := start(t)
	ctx := t.Context()
	create := &eks.CreatePodIdentityAssociationInput{
		ClusterName: cluster, Namespace: aws.String("shop"), ServiceAccount: aws.String("cart"),
		RoleArn: aws.String(role),
	}
	created, err := client.CreatePodIdentityAssociation(ctx, create)
	id := must(t, created, err).Association.AssociationId
	// The SDK has put a clientRequestToken into the input.
	again, err := client.CreatePodIdentityAssociation(ctx, create)
	if *must(t, again, err).Association.AssociationId != *id {
		t.Fatal("the same request made another association")
	}
	another := *create
	another.ClientRequestToken = nil
	_, err = client.CreatePodIdentityAssociation(ctx, &another)
	refused[*types.ResourceInUseException](t, err)
	for _, account := range []string{"basket", "till"} {
		more := *create
		more.ServiceAccount = aws.String(account)
		more.ClientRequestToken = nil
		output, err := client.CreatePodIdentityAssociation(ctx, &more)
		must(t, output, err)
	}

	listed := 0
	pages := eks.NewListPodIdentityAssociationsPaginator(client,
		&eks.ListPodIdentityAssociationsInput{ClusterName: cluster, MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		listed += len(must(t, page, err).Associations)
	}
	if listed != 3 {
		t.Fatal(listed)
	}

	deleted, err := client.DeletePodIdentityAssociation(ctx,
		&eks.DeletePodIdentityAssociationInput{ClusterName: cluster, AssociationId: id})
	must(t, deleted, err)
	_, err = client.DescribePodIdentityAssociation(ctx,
		&eks.DescribePodIdentityAssociationInput{ClusterName: cluster, AssociationId: id})
	refused[*types.ResourceNotFoundException](t, err)
}

func TestAnAddonWithItsAssociation(t *testing.T) {
	client, cluster := start(t)
	ctx := t.Context()
	addon := aws.String("vpc-cni")
	addonOf := &eks.DescribeAddonInput{ClusterName: cluster, AddonName: addon}
	_, err := client.DescribeAddon(ctx, addonOf)
	refused[*types.ResourceNotFoundException](t, err)

	active := eks.NewClusterActiveWaiter(client)
	if err := active.Wait(ctx, &eks.DescribeClusterInput{Name: cluster}, patient); err != nil {
		t.Fatal(err)
	}
	created, err := client.CreateAddon(ctx, &eks.CreateAddonInput{
		ClusterName: cluster, AddonName: addon,
		PodIdentityAssociations: []types.AddonPodIdentityAssociations{
			{ServiceAccount: aws.String("aws-node"), RoleArn: aws.String(role)},
		},
	})
	must(t, created, err)
	if err := eks.NewAddonActiveWaiter(client).Wait(ctx, addonOf, patient); err != nil {
		t.Fatal(err)
	}
	if association := onlyAssociation(t, client, cluster); association.OwnerArn == nil || *association.RoleArn != role {
		t.Fatal(association)
	}
	updated, err := client.UpdateAddon(ctx, &eks.UpdateAddonInput{
		ClusterName: cluster, AddonName: addon,
		PodIdentityAssociations: []types.AddonPodIdentityAssociations{
			{ServiceAccount: aws.String("aws-node"), RoleArn: aws.String(other)},
		},
	})
	update, err := client.DescribeUpdate(ctx, &eks.DescribeUpdateInput{
		Name: cluster, AddonName: addon, UpdateId: must(t, updated, err).Update.Id,
	})
	if status := must(t, update, err).Update.Status; status != types.UpdateStatusSuccessful {
		t.Fatal(status)
	}
	if association := onlyAssociation(t, client, cluster); *association.RoleArn != other {
		t.Fatal(association)
	}

	deleted, err := client.DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: cluster, AddonName: addon})
	must(t, deleted, err)
	if err := eks.NewAddonDeletedWaiter(client).Wait(ctx, addonOf, patient); err != nil {
		t.Fatal(err)
	}
	listed, err := client.ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: cluster})
	if left := must(t, listed, err).Associations; len(left) != 0 {
		t.Fatal(left)
	}
}

// onlyAssociation describes the one association of the cluster.
func onlyAssociation(t *testing.T, client *eks.Client, cluster *string) *types.PodIdentityAssociation {
	t.Helper()
	listed, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: cluster})
	found := must(t, listed, err).Associations
	if len(found) != 1 {
		t.Fatal(found)
	}
	return describe(t, client, cluster, found[0].AssociationId)
}

// idOf returns the id of the association of a service account in the namespace shop, or nil.
func idOf(t *testing.T, client *eks.Client, cluster *string, account string) *string {
	t.Helper()
	listed, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{
		ClusterName: cluster, Namespace: aws.String("shop"), ServiceAccount: aws.String(account),
	})
	found := must(t, listed, err).Associations
	if len(found) > 1 {
		t.Fatal(found)
	}
	for _, association := range found {
		return association.AssociationId
	}
	return nil
}

func describe(t *testing.T, client *eks.Client, cluster, id *string) *types.PodIdentityAssociation {
	t.Helper()
	described, err := client.DescribePodIdentityAssociation(t.Context(),
		&eks.DescribePodIdentityAssociationInput{ClusterName: cluster, AssociationId: id})
	return must(t, described, err).Association
}
