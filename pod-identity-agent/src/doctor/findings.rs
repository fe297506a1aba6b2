//! Every finding, in the order of the chain. Of findings that are recognised by the same answer, the more
//! particular one comes first.

use crate::doctor::finding::{Class, Finding};

macro_rules! findings {
    ($($name:ident = $finding:expr;)*) => {
        $(pub(crate) static $name: Finding = $finding;)*
        /// All of them.
        pub(crate) static ALL: &[&Finding] = &[$(&$name),*];
    };
}

/// The finding that a message of an agent is a case of. Whoever has that message has reached the agent, so what
/// SDKs report of the way to it does not count: the agent may report the same of its way to EKS Auth.
pub(crate) fn in_message(message: &str) -> Option<&'static Finding> {
    let is_before_agent = |one: &Finding| matches!(one.class, Class::Environment | Class::Network);
    let is_part = |part: &&str| message.contains(*part);
    ALL.iter()
        .copied()
        .find(|one| !is_before_agent(one) && one.seen.iter().any(is_part))
}

findings! {
    NO_ENVIRONMENT = Finding {
        code: "no-environment",
        class: Class::Environment,
        message: "no variable names an agent: AWS_CONTAINER_CREDENTIALS_FULL_URI is not set",
        seen: &[
            "Unable to locate credentials",
            "no EC2 IMDS role found",
            "Could not load credentials from any providers",
            "Unable to load credentials from any of the providers in the chain",
        ],
        cause: "EKS sets the variables when a pod is created. This pod is older than its association, its \
                service account has no association, the webhook of EKS did not see the pod, or the annotation \
                eks.amazonaws.com/skip-containers names this container. EKS never changes a container that \
                `kubectl debug` adds.",
        remedy: "Check that `aws eks list-pod-identity-associations` shows the pod's namespace and service \
                 account, then restart the pod, as with `kubectl rollout restart`. In a container of \
                 `kubectl debug --target`, look into the application instead: `doctor pod --process 1`.",
    };
    HALF_CONFIGURED = Finding {
        code: "half-configured",
        class: Class::Environment,
        message: "a token variable is set, and no variable names an agent",
        seen: &[],
        cause: "The container sets AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN \
                itself. EKS adds its two variables only where the container sets neither of them.",
        remedy: "Remove the variable from the pod template and restart the pod.",
    };
    INVALID_URI = Finding {
        code: "invalid-uri",
        class: Class::Environment,
        message: "the URI of the agent cannot be used",
        seen: &["is not an allowed host", "invalid full URI", "Unsupported host"],
        cause: "Something other than EKS has set the variable. EKS sets http://169.254.170.23/v1/credentials, \
                and http://[fd00:ec2::23]/v1/credentials in IPv6 clusters.",
        remedy: "Remove the variable from the pod template and restart the pod.",
    };
    RELATIVE_URI_WINS = Finding {
        code: "relative-uri-wins",
        class: Class::Environment,
        message: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set, and SDKs prefer it to the URI of the agent",
        seen: &[],
        cause: "The variable belongs to Amazon ECS and leads to 169.254.170.2. A pod template or an image sets it.",
        remedy: "Remove the variable.",
    };
    FARGATE = Finding {
        code: "fargate",
        class: Class::Environment,
        message: "the pod runs on Fargate, where there is no agent",
        seen: &[],
        cause: "EKS Pod Identity needs an agent on the node, and DaemonSets do not run on Fargate.",
        remedy: "Run the pod on EC2 nodes, or give its service account a role with IAM roles for service accounts.",
    };
    WINDOWS = Finding {
        code: "windows",
        class: Class::Environment,
        message: "the pod runs on Windows, where there is no agent",
        seen: &[],
        cause: "EKS Pod Identity works on Linux nodes only.",
        remedy: "Give the service account a role with IAM roles for service accounts.",
    };
    KEYS_FIRST = Finding {
        code: "keys-first",
        class: Class::Environment,
        message: "keys in the environment come before Pod Identity",
        seen: &[],
        cause: "SDKs look for credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY first. A pod template, \
                a secret or the image sets them.",
        remedy: "Remove both variables, and AWS_SESSION_TOKEN, and restart the pod.",
    };
    WEB_IDENTITY_FIRST = Finding {
        code: "web-identity-first",
        class: Class::Environment,
        message: "IAM roles for service accounts come before Pod Identity",
        seen: &[],
        cause: "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are set, because the service account has the \
                annotation eks.amazonaws.com/role-arn or the pod template sets them. SDKs look for them first.",
        remedy: "Remove the annotation from the service account, and variables from the pod template, and \
                 restart the pod.",
    };
    PROFILE_FIRST = Finding {
        code: "profile-first",
        class: Class::Environment,
        message: "a profile of the shared config or credentials file comes before Pod Identity",
        seen: &[],
        cause: "The profile that the SDK uses has credentials, a role or a process to ask. SDKs look there \
                before they ask the agent.",
        remedy: "Remove the file or the profile from the image or the volume, and AWS_PROFILE from the pod template.",
    };

    TOKEN_NOT_SET = Finding {
        code: "token-not-set",
        class: Class::Token,
        message: "no variable names a token",
        seen: &["Service account token cannot be empty"],
        cause: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not set, or the client sends no Authorization header. \
                A container that sets the URI itself gets neither variable from EKS.",
        remedy: "Remove the URI from the pod template, so that EKS sets both variables, and restart the pod.",
    };
    TOKEN_FILE = Finding {
        code: "token-file",
        class: Class::Token,
        message: "the token cannot be read",
        seen: &["failed to read authorization token from"],
        cause: "The projected volume is not mounted in this container, or its user may not read it, or \
                something has replaced the file.",
        remedy: "Restart the pod, so that EKS mounts the volume. For a container that does not run as root, \
                 set fsGroup in the security context of the pod.",
    };
    TOKEN_BEARER = Finding {
        code: "token-bearer",
        class: Class::Token,
        message: "the token begins with `Bearer`",
        seen: &[],
        cause: "The agent takes the token as it is, without a scheme before it.",
        remedy: "Send the content of the token file alone.",
    };
    TOKEN_MALFORMED = Finding {
        code: "token-malformed",
        class: Class::Token,
        message: "the token is not a service-account token",
        seen: &["Service account token cannot be parsed"],
        cause: "The client sends something other than the content of the projected file: `Bearer` before it, \
                a path, or a token of another kind.",
        remedy: "Use an SDK that knows Pod Identity, or send the content of the token file as it is.",
    };
    TOKEN_EXPIRED = Finding {
        code: "token-expired",
        class: Class::Token,
        message: "the token has expired",
        seen: &["token is expired"],
        cause: "The client keeps an old token, kubelet has not renewed the file, or the clock of the node is wrong.",
        remedy: "Read the file for each request, as SDKs do. Check the clock of the node, and in kubelet's log \
                 why the file is old.",
    };
    TOKEN_EARLY = Finding {
        code: "token-not-yet-valid",
        class: Class::Token,
        message: "the token is not valid yet",
        seen: &["token is not valid yet"],
        cause: "The clock of the node is behind that of the API server.",
        remedy: "Check chrony or systemd-timesyncd on the node.",
    };
    TOKEN_AUDIENCE = Finding {
        code: "token-audience",
        class: Class::Token,
        message: "the token is for another audience",
        seen: &["token has an invalid audience"],
        cause: "The variable names a token other than that of Pod Identity, whose audience is \
                pods.eks.amazonaws.com. The default token of a pod is for the API server.",
        remedy: "Name /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token, or let \
                 EKS set the variables.",
    };
    TOKEN_SIGNATURE = Finding {
        code: "token-signature",
        class: Class::Token,
        message: "the signature of the token is wrong",
        seen: &["its signature is not that of this cluster's key"],
        cause: "The token was changed or forged, or is of another cluster whose key has the same id, or the keys \
                that the agent has are not those of this cluster.",
        remedy: "Send the content of the token file as it is. If it is refused all the same, compare the issuer of \
                 the token with `aws eks describe-cluster` and with the agent's --oidc-issuer.",
    };

    PROXIED = Finding {
        code: "proxied",
        class: Class::Network,
        message: "some SDKs ask the agent through the proxy of the environment, and send it the token",
        seen: &["ERR_ACCESS_DENIED", "Tunnel connection failed", "Proxy Authentication Required"],
        cause: "HTTP_PROXY or ALL_PROXY is set, and NO_PROXY does not name the address of the agent.",
        remedy: "Add 169.254.170.23 and [fd00:ec2::23] to NO_PROXY and no_proxy, as addresses: not every SDK \
                 understands ranges.",
    };
    UNRESOLVED = Finding {
        code: "unresolved",
        class: Class::Network,
        message: "the host in the URI of the agent has no usable address",
        seen: &[],
        cause: "The URI names a host instead of an address, and the name does not resolve, or not to loopback \
                or an agent's address.",
        remedy: "Let EKS set the variables, whose URI holds an address.",
    };
    REFUSED = Finding {
        code: "refused",
        class: Class::Network,
        message: "the agent's address refuses connections",
        seen: &["connection refused", "Connection refused", "ECONNREFUSED"],
        cause: "The address is on the node, and nobody listens: the agent of this node does not run, is not \
                ready yet, as on a fresh node, or is being replaced. A network policy that rejects looks the same.",
        remedy: "Look at the agent's pod on this node: `kubectl -n kube-system get pods -o wide \
                 --field-selector spec.nodeName=<node>`. On the node, `doctor node` says more. Retry if the \
                 node is fresh.",
    };
    TIMED_OUT = Finding {
        code: "timed-out",
        class: Class::Network,
        message: "the agent's address does not answer",
        seen: &[
            "Connect timeout on endpoint URL",
            "context deadline exceeded",
            "connection timed out",
            "Connection timed out",
            "ETIMEDOUT",
            "TimeoutError",
        ],
        cause: "A network policy drops the packets, or the node does not have the address, because no agent was \
                installed or the link pod-id-link0 is gone. Cilium counts the address as the entity `host`, \
                which rules with CIDR ranges do not match. There is no agent on Fargate.",
        remedy: "Allow egress to 169.254.170.23 and fd00:ec2::23 at port 80; with Cilium, `toEntities: [host]`. \
                 The policies in deploy/examples do so. On the node, `doctor node` checks the link.",
    };
    NO_ROUTE = Finding {
        code: "no-route",
        class: Class::Network,
        message: "there is no route to the agent's address",
        seen: &["network is unreachable", "Network is unreachable", "No route to host", "no route to host", "EHOSTUNREACH"],
        cause: "The pod or the node has no route for this family of addresses, as a pod without IPv6 for \
                fd00:ec2::23, or the node's route to the address is `unreachable`.",
        remedy: "On the node, `doctor node` names a route that is in the way. In a cluster without IPv6 the \
                 URI must name 169.254.170.23.",
    };

    ANOTHER_SERVER = Finding {
        code: "another-server",
        class: Class::Agent,
        message: "something other than an agent answers at the agent's address",
        seen: &[],
        cause: "A pod with hostPort: 80 or a web server on all addresses of the node gets the requests for the \
                agent, or a service mesh or a proxy does.",
        remedy: "On the node, `doctor node` names the process that holds the port. Exclude 169.254.170.23 and \
                 fd00:ec2::23 from the mesh.",
    };
    NO_ANSWER = Finding {
        code: "no-answer",
        class: Class::Agent,
        message: "the agent's address accepts connections, and no answer comes",
        seen: &["Read timeout on endpoint URL", "socket hang up"],
        cause: "The agent hangs or has no CPU, or a proxy accepts connections in its place.",
        remedy: "Look at the log and the CPU limit of the agent's pod on this node.",
    };
    WRONG_HOST = Finding {
        code: "wrong-host",
        class: Class::Agent,
        message: "the agent was called by a name that is not its address",
        seen: &[
            "Called agent through invalid address",
            "missing required Host header",
            "too many Host headers",
        ],
        cause: "The URI names another host, or a proxy or a mesh has changed the header Host.",
        remedy: "Call 169.254.170.23 or [fd00:ec2::23] itself, without a proxy between.",
    };
    WRONG_PATH = Finding {
        code: "wrong-path",
        class: Class::Agent,
        message: "the path is not one of an agent",
        seen: &["404 page not found"],
        cause: "The URI does not end in /v1/credentials, or something other than an agent answers.",
        remedy: "Let EKS set the variables, and restart the pod.",
    };
    AGENT_BUSY = Finding {
        code: "agent-busy",
        class: Class::Agent,
        message: "the agent limits this address or is full",
        seen: &[
            "has caused as many exchanges with EKS Auth as",
            "has sent as many tokens with a wrong signature as",
            "too many tokens wait for EKS Auth",
            "too many requests wait for the agent",
            "too many connections are open from this address",
            "Too Many Requests",
        ],
        cause: "One address has caused many requests that EKS Auth refused or did not answer, or has sent many \
                tokens with a wrong signature, or keeps many connections open, or an outage has filled the queue. The official agent answers 429 to more than 1,000 requests per second.",
        remedy: "Find the client by the address in the agent's log, and see what its tokens are refused for. The \
                 message names the flag that sets the limit.",
    };
    UNUSABLE_ANSWER = Finding {
        code: "unusable-answer",
        class: Class::Agent,
        message: "the answer holds no usable credentials",
        seen: &[
            "error getting credentials to cache",
            "fetched credentials are expired or will expire",
        ],
        cause: "EKS Auth or the agent has sent an incomplete set, or one that has expired by the clock of this node.",
        remedy: "Check the clock of the node. If it is right, look at the agent's log and report the request id \
                 to AWS support.",
    };
    UNEXPECTED_ANSWER = Finding {
        code: "unexpected-answer",
        class: Class::Agent,
        message: "the agent refuses for a reason that doctor does not know",
        seen: &[],
        cause: "The message of the answer is the agent's or that of EKS Auth.",
        remedy: "Look for the request id in the agent's log on this node.",
    };

    NO_CLUSTER = Finding {
        code: "no-cluster",
        class: Class::Association,
        message: "EKS Auth does not know the cluster",
        seen: &["No cluster found"],
        cause: "The agent's --cluster-name, or its region, is not that of the cluster.",
        remedy: "Correct clusterName and env.AWS_REGION in the values of the agent's chart.",
    };
    NO_ASSOCIATION = Finding {
        code: "no-association",
        class: Class::Association,
        message: "the service account has no association",
        seen: &["has no service account role association", "ResourceNotFoundException"],
        cause: "No association of this cluster names the pod's namespace and service account, or it is only \
                seconds old, or it was deleted.",
        remedy: "`aws eks create-pod-identity-association --cluster-name <name> --namespace <namespace> \
                 --service-account <name> --role-arn <role>`. If it is there, wait some seconds.",
    };
    ROLE_TRUST = Finding {
        code: "role-trust",
        class: Class::Association,
        message: "EKS may not assume the role of the association",
        seen: &[
            "EKS does not have permissions to assume the associated role",
            "Trust policy of the role provided is invalid",
        ],
        cause: "The trust policy of the role does not allow the principal pods.eks.amazonaws.com both \
                sts:AssumeRole and sts:TagSession, or its conditions do not hold, or the role was deleted.",
        remedy: "Let the trust policy allow Service pods.eks.amazonaws.com the actions sts:AssumeRole and \
                 sts:TagSession, and check its conditions on aws:SourceAccount and aws:SourceArn.",
    };
    NODE_NOT_ALLOWED = Finding {
        code: "node-not-allowed",
        class: Class::EksAuth,
        message: "the agent's own role may not ask EKS Auth",
        seen: &["not authorized to perform: eks-auth:AssumeRoleForPodIdentity"],
        cause: "The role of the node, or that of the agent's service account, lacks the permission \
                eks-auth:AssumeRoleForPodIdentity, or the policy of a VPC endpoint denies it.",
        remedy: "Attach AmazonEKSWorkerNodePolicy, or a policy with that action, to the role, and check the \
                 policy of the VPC endpoint.",
    };
    ACCESS_DENIED = Finding {
        code: "access-denied",
        class: Class::Association,
        message: "EKS Auth denies access",
        seen: &["AccessDeniedException"],
        cause: "The trust policy of the role does not allow pods.eks.amazonaws.com sts:AssumeRole and \
                sts:TagSession, or the agent's own role lacks eks-auth:AssumeRoleForPodIdentity.",
        remedy: "Correct the trust policy, or the role of the node. `doctor node` checks the latter.",
    };
    TOKEN_REFUSED = Finding {
        code: "token-refused",
        class: Class::Association,
        message: "EKS Auth does not accept the token",
        seen: &["InvalidTokenException", "ExpiredTokenException", "InvalidParameterException", "InvalidRequestException"],
        cause: "The token is of a cluster other than the agent's --cluster-name, or the pod was deleted, or the \
                token or the agent's own credentials have expired.",
        remedy: "Compare the issuer of the token with `aws eks describe-cluster`, correct the agent's \
                 clusterName, and check the clock of the node.",
    };

    NO_NETLINK = Finding {
        code: "no-netlink",
        class: Class::Node,
        message: "the network of the node cannot be looked at",
        seen: &["netlink cannot be used"],
        cause: "A security policy of the container, such as a seccomp profile, forbids netlink sockets.",
        remedy: "Run `doctor node` in the agent's container, or with the profile `sysadmin` of `kubectl debug`.",
    };
    LINK_MISSING = Finding {
        code: "link-missing",
        class: Class::Node,
        message: "the link pod-id-link0 is not there",
        seen: &["no network interface has this address"],
        cause: "The init container has not run since the node booted, or something has removed the link. Or \
                this is not the network of the node: `doctor node` needs a container with the host's network.",
        remedy: "Delete the agent's pod on this node, so that its init container runs again, or run \
                 `pod-identity-agent initialize` on the node. `server --watch-link` puts the link back where it may.",
    };
    LINK_DOWN = Finding {
        code: "link-down",
        class: Class::Node,
        message: "the link pod-id-link0 is down",
        seen: &[],
        cause: "Something that manages the interfaces of the node has taken it down.",
        remedy: "`ip link set pod-id-link0 up`, and tell the manager to leave the link alone: \
                 `Unmanaged=yes` for systemd-networkd, `unmanaged-devices` for NetworkManager.",
    };
    ADDRESS_MISSING = Finding {
        code: "address-missing",
        class: Class::Node,
        message: "the link pod-id-link0 does not have an address of the agent",
        seen: &["cannot add 169.254.170.23", "cannot add fd00:ec2::23"],
        cause: "Something has removed it, or IPv6 was turned on after the init container ran.",
        remedy: "Delete the agent's pod on this node, or run `pod-identity-agent initialize` on the node.",
    };
    ADDRESS_ELSEWHERE = Finding {
        code: "address-elsewhere",
        class: Class::Node,
        message: "another interface has an address of the agent",
        seen: &["is also on the interface"],
        cause: "Another agent or a proxy for metadata, such as kube2iam or kiam, has put the address onto an \
                interface of its own.",
        remedy: "Remove that software, and the address with the command that the message names.",
    };
    ROUTE_MISSING = Finding {
        code: "route-missing",
        class: Class::Node,
        message: "no route leads to an address of the agent",
        seen: &["cannot add a route to"],
        cause: "Something that manages the routes of the node has removed it.",
        remedy: "Delete the agent's pod on this node, or run `pod-identity-agent initialize` on the node.",
    };
    ROUTE_ELSEWHERE = Finding {
        code: "route-elsewhere",
        class: Class::Node,
        message: "a route to an address of the agent leads to another interface",
        seen: &["leads to another interface"],
        cause: "Another agent, a VPN or an older setup of the node has made the route.",
        remedy: "Remove the route with the command that the message names, and what made it.",
    };
    ROUTE_REFUSES = Finding {
        code: "route-refuses",
        class: Class::Node,
        message: "a route of the node refuses packets to an address of the agent",
        seen: &["is `unreachable`", "is `blackhole`", "is `prohibit`"],
        cause: "The node was hardened against link-local addresses, or an older setup has made the route.",
        remedy: "Remove the route with the command that the message names, and what made it.",
    };
    NO_IPV6 = Finding {
        code: "no-ipv6",
        class: Class::Advice,
        message: "the node has no IPv6, so that the agent serves 169.254.170.23 only",
        seen: &["the IPv6 address is not reachable", "this node has no IPv6"],
        cause: "The kernel has no IPv6, or net.ipv6.conf.all.disable_ipv6 is 1.",
        remedy: "Nothing in an IPv4 cluster; `--bind-hosts 169.254.170.23` ends the warning. In an IPv6 cluster \
                 turn IPv6 on and restart the agent's pod.",
    };
    PORT_TAKEN = Finding {
        code: "port-taken",
        class: Class::Node,
        message: "another program holds a port of the agent",
        seen: &["another process has this port", "address already in use", "Address in use"],
        cause: "Another agent, a web server or an ingress on the host's network listens there, or on all \
                addresses of the node at this port.",
        remedy: "Stop it or move it to another port, or let it listen on its own address. The ports of probes \
                 and metrics can be changed by flags, port 80 of the agent's addresses cannot.",
    };
    NOT_LISTENING = Finding {
        code: "not-listening",
        class: Class::Node,
        message: "nobody listens at an address of the agent",
        seen: &["no credentials address can be listened on yet", "address cannot be bound", "ports below 1024 need CAP_NET_BIND_SERVICE"],
        cause: "The agent does not run on this node, or cannot bind the address. Its log says why.",
        remedy: "Look at the agent's pod on this node: whether it is scheduled, its last state, and its log. A \
                 port below 1024 needs the capability NET_BIND_SERVICE.",
    };
    PROBES_SILENT = Finding {
        code: "probes-silent",
        class: Class::Node,
        message: "the probes of the agent do not answer",
        seen: &["Readiness probe failed", "Liveness probe failed"],
        cause: "The agent does not run, or another program holds its port of probes, 2703 by default.",
        remedy: "See who holds the port above, and look at the agent's log.",
    };
    NOT_READY = Finding {
        code: "not-ready",
        class: Class::Node,
        message: "the agent is not ready",
        seen: &[],
        cause: "The message is the agent's own.",
        remedy: "Look at its log on this node.",
    };

    NO_NODE_CREDENTIALS = Finding {
        code: "no-node-credentials",
        class: Class::EksAuth,
        message: "the agent has no credentials of its own",
        seen: &["the agent has no credentials of its own", "the agent's own credentials cannot be loaded"],
        cause: "Instance metadata cannot be reached or has no role, the shared file of a hybrid node is missing or \
                malformed, or a key holds a character that no key has. The line of the agent's log names the cause.",
        remedy: "Check the role of the node, or that /eks-hybrid/.aws/credentials is there. The agent reads the \
                 sources again by itself.",
    };
    NO_REGION = Finding {
        code: "no-region",
        class: Class::EksAuth,
        message: "the agent does not know its region",
        seen: &["no region is known", "which no region is"],
        cause: "AWS_REGION is not set or is malformed, and instance metadata cannot be reached.",
        remedy: "Set env.AWS_REGION in the values of the agent's chart.",
    };
    MISCONFIGURED = Finding {
        code: "misconfigured",
        class: Class::EksAuth,
        message: "a setting of the agent cannot be used",
        seen: &[
            "the shared config and credentials files cannot be read",
            "which cannot be used",
            "EKS Auth has no endpoint",
        ],
        cause: "The message names it: a malformed shared file, a CA bundle that is missing or holds no \
                certificate, or settings that exclude each other, such as FIPS and a custom endpoint.",
        remedy: "Correct it. Shared files and bundles are read again by themselves; flags need a restart.",
    };
    NOT_EKS_AUTH = Finding {
        code: "not-eks-auth",
        class: Class::EksAuth,
        message: "something other than EKS Auth answers the agent",
        seen: &["without an AWS error code"],
        cause: "A proxy, a captive portal or a load balancer answers in the place of EKS Auth.",
        remedy: "Let the proxy pass eks-auth.<region>.api.aws, or put it into the agent's NO_PROXY.",
    };
    EKS_AUTH_OUT_OF_REACH = Finding {
        code: "eks-auth-out-of-reach",
        class: Class::EksAuth,
        message: "EKS Auth cannot be reached",
        seen: &[
            "EKS Auth could not be asked",
            "EKS Auth has not been reached yet",
            "cannot be connected to",
            "has not answered in time",
        ],
        cause: "The node has no route to EKS Auth, its name does not resolve, a security group drops the \
                packets, a certificate is not trusted, or the VPC endpoint com.amazonaws.<region>.eks-auth is missing.",
        remedy: "From the node, `curl -sv https://eks-auth.<region>.api.aws` must connect. Private clusters need \
                 the VPC endpoint; behind a proxy set HTTPS_PROXY and, if it inspects TLS, caBundle.",
    };
    THROTTLED = Finding {
        code: "throttled",
        class: Class::EksAuth,
        message: "EKS Auth throttles, or has an outage",
        seen: &["ThrottlingException", "ServiceUnavailableException", "InternalServerException"],
        cause: "More exchanges than the account may make, or trouble of the service.",
        remedy: "Wait: the agent slows down and goes on by itself. Ask for a higher quota if it stays.",
    };
    CLOCK = Finding {
        code: "clock",
        class: Class::EksAuth,
        message: "the clock of the node differs from that of EKS Auth by minutes",
        seen: &["the node's clock differs from that of EKS Auth", "Signature expired", "Signature not yet current"],
        cause: "The time service of the node does not run or cannot reach its source. AWS refuses signatures that \
                are 5 minutes off; this agent signs by the time of EKS Auth, others fail.",
        remedy: "Check chrony or systemd-timesyncd on the node.",
    };
    NO_TOKEN_KEYS = Finding {
        code: "no-token-keys",
        class: Class::Advice,
        message: "the agent has no keys of the cluster, so that EKS Auth verifies each token",
        seen: &["tokens are not verified, because"],
        cause: "The API server does not answer, refuses the agent's service account or is older than \
                Kubernetes 1.34, and the issuer cannot be reached either, or is not known because the node's role \
                may not call eks:DescribeCluster. Pods get credentials all the same, with an exchange for each of \
                their tokens.",
        remedy: "Give the agent a service account whose token is mounted, as tokenVerification.enabled of \
                 the chart does, or name the issuer of the cluster with --oidc-issuer. Where that is not wanted, set \
                 --verify-tokens=false.",
    };
    OLD_TOKEN_KEYS = Finding {
        code: "old-token-keys",
        class: Class::Advice,
        message: "the keys of the cluster cannot be renewed, and the agent verifies tokens with old ones",
        seen: &[
            "the keys of the cluster cannot be fetched; the known ones are used",
            "tokens are verified with the keys of the last start",
        ],
        cause: "The source that had the keys no longer answers. Tokens that are signed with a newer key are left to \
                EKS Auth, and a key that the cluster has withdrawn is still trusted.",
        remedy: "Restore the agent's way to the API server or to the issuer. It asks again by itself, within 5 \
                 minutes.",
    };

    STS_FAILED = Finding {
        code: "sts-failed",
        class: Class::Association,
        message: "STS does not accept the credentials",
        seen: &["InvalidClientTokenId", "The security token included in the request is invalid"],
        cause: "STS cannot be reached from the pod, the region is of another partition than the role, or the \
                credentials were revoked.",
        remedy: "Check the pod's egress to STS, AWS_REGION, and the policies of the role.",
    };
    NODE_ROLE = Finding {
        code: "node-role",
        class: Class::Advice,
        message: "instance metadata answers in this pod, so that SDKs silently use the role of the node",
        seen: &[],
        cause: "Where the agent is not configured or fails, many SDKs go on to instance metadata. The \
                application then works with the permissions of the node, or is denied access as the node.",
        remedy: "Mend the faults above. To keep pods from the node's role, set the hop limit of instance \
                 metadata to 1, or block 169.254.169.254 by a network policy.",
    };
    OLD_SDK = Finding {
        code: "old-sdk",
        class: Class::Advice,
        message: "if the application gets no credentials all the same, its SDK may be older than Pod Identity",
        seen: &["AWS_CONTAINER_CREDENTIALS_FULL_URI has an invalid host", "is not a loopback"],
        cause: "SDKs from before the end of 2023 allow only loopback addresses in the URI, or do not read the \
                token file. An application may also configure its own chain, without container credentials.",
        remedy: "Update the SDK to a version that the EKS user guide lists for Pod Identity, and let the \
                 application use the default chain.",
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pod_identity_core::wire::agent::Refusal;
    use pod_identity_core::{ClaimError, TokenError};

    use super::*;
    use crate::credentials::denial::Denial;
    use crate::{EksAuthError, Unavailable};

    #[test]
    fn codes_are_unique_and_the_texts_are_sentences() {
        let codes: HashSet<_> = ALL.iter().map(|one| one.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for one in ALL {
            let is_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(one.code.chars().all(is_code), "{}", one.code);
            for text in [one.cause, one.remedy] {
                assert!(text.ends_with(['.', ')']), "{}: {text}", one.code);
                assert!(!text.contains("  "), "{}: {text}", one.code);
            }
            assert!(!one.message.ends_with('.'), "{}", one.code);
        }
    }

    #[test]
    fn every_refusal_of_an_agent_is_recognised() {
        let host = "localhost".to_owned();
        let millis_left = 10_000;
        for (refusal, finding) in [
            (Refusal::NotFound, &WRONG_PATH),
            (Refusal::HostNotAllowed { host }, &WRONG_HOST),
            (Refusal::TooManyRequests, &AGENT_BUSY),
            (TokenError::Empty.into(), &TOKEN_NOT_SET),
            (TokenError::Segments.into(), &TOKEN_MALFORMED),
            (ClaimError::Expired.into(), &TOKEN_EXPIRED),
            (ClaimError::NotYetValid.into(), &TOKEN_EARLY),
            (ClaimError::Audience.into(), &TOKEN_AUDIENCE),
            (Refusal::Expiring { millis_left }, &UNUSABLE_ANSWER),
        ] {
            assert_is(&refusal.to_string(), finding);
        }
    }

    #[test]
    fn a_refusal_by_the_keys_of_the_cluster_is_recognised() {
        let flag = "--pod-budget";
        for (denial, finding) in [
            (Denial::WrongSignature, &TOKEN_SIGNATURE),
            (Denial::TooManyForged { flag }, &AGENT_BUSY),
            (Denial::QueueFull, &AGENT_BUSY),
        ] {
            assert_is(&denial.message(), finding);
        }
    }

    #[test]
    fn every_failure_of_eks_auth_is_recognised() {
        let refused = |code: &str, message: &str| EksAuthError::Refused {
            status: 400,
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: None,
        };
        let association =
            "The token included in the request has no service account role association for it.";
        let trust =
            "Unauthorized Exception! EKS does not have permissions to assume the associated role.";
        let node = "User: arn:aws:sts::1:assumed-role/node/i-0 is not authorized to perform: \
                    eks-auth:AssumeRoleForPodIdentity on resource: arn:aws:eks:us-west-2:1:cluster/c";
        let no_credentials =
            "the agent has no credentials of its own: no source has any; its log has the cause";
        for (error, finding) in [
            (
                refused("ResourceNotFoundException", association),
                &NO_ASSOCIATION,
            ),
            (
                refused("ResourceNotFoundException", "No cluster found for name: c."),
                &NO_CLUSTER,
            ),
            (refused("AccessDeniedException", trust), &ROLE_TRUST),
            (refused("AccessDeniedException", node), &NODE_NOT_ALLOWED),
            (refused("AccessDeniedException", "no"), &ACCESS_DENIED),
            (refused("InvalidTokenException", ""), &TOKEN_REFUSED),
            (refused("ExpiredTokenException", ""), &TOKEN_REFUSED),
            (refused("ThrottlingException", ""), &THROTTLED),
            (refused("ServiceUnavailableException", ""), &THROTTLED),
            (
                EksAuthError::Malformed("subject is missing".to_owned()),
                &UNUSABLE_ANSWER,
            ),
            (EksAuthError::Unreachable(Unavailable::NoRegion), &NO_REGION),
            (
                EksAuthError::Unreachable(Unavailable::other(no_credentials)),
                &NO_NODE_CREDENTIALS,
            ),
            (
                EksAuthError::Unreachable(Unavailable::other("Connection refused")),
                &EKS_AUTH_OUT_OF_REACH,
            ),
        ] {
            assert_is(&error.to_string(), finding);
        }
    }

    fn assert_is(message: &str, finding: &Finding) {
        assert_eq!(
            in_message(message).map(|one| one.code),
            Some(finding.code),
            "{message}"
        );
    }
}
