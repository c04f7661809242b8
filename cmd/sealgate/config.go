package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// Config is the configuration file, in the order in which a person reads it. The tags are the keys; what is left out has
// the default that is named here. A relative path is relative to the file that holds it. config.example.yaml says the same
// in YAML, and schema.json, for editors, is generated from these comments: run `go generate` after a change.
//
// The file holds no secret, only the names of files and environment variables that do.
//
//go:generate go test -run TestSchemaIsGeneratedFromTheConfigStruct -update .
type Config struct {
	// Listen is the listener for clients: docker, containerd, podman and their kind.
	Listen Listen `mapstructure:"listen"`

	// Admin is a listener of its own for health and metrics.
	Admin Admin `mapstructure:"admin"`

	// Storage is where the gateway keeps what it knows.
	Storage Storage `mapstructure:"storage"`

	// Clients says who may ask. Without it nobody is asked who he is.
	Clients Clients `mapstructure:"clients"`

	// Registries stand behind the gateway. The longest matching prefix wins. Default: one that is embedded, named local,
	// with an empty prefix.
	Registries []Registry `mapstructure:"registries"`

	// TrustRoots are the Sigstore deployments that authorities may name as their trusted_root, beside public-good and files.
	// Default: public-good, as it is built in.
	TrustRoots []TrustRoot `mapstructure:"trust_roots"`

	// Authorities can vouch for an image. Default: gateway, who signs with the signer of that name.
	Authorities []Authority `mapstructure:"authorities"`

	// Signers are the keys that we sign with. Default: gateway, with the key gateway.key in the storage directory.
	Signers []Signer `mapstructure:"signers"`

	// Scanners look for vulnerabilities in what is pushed. Default none.
	Scanners []Scanner `mapstructure:"scanners"`

	// Verification bounds how long and how much of what was proven about images is remembered.
	Verification Verification `mapstructure:"verification"`

	// Delete says whether clients may delete.
	Delete Delete `mapstructure:"delete"`

	// Policies say what is admitted. The first that matches a repository decides; what no policy names is denied. A file
	// has at least one. Without a file there is one for all repositories: it seals what is pushed unless it runs as root,
	// and lets nothing be pulled that the gateway did not sign.
	Policies []policy.Document `mapstructure:"policies"`
}

// Listen is the listener for clients.
type Listen struct {
	// Address is host:port. Port 0 takes a free one, which the log names. Default 127.0.0.1:5000. The environment
	// variable SEALGATE_LISTEN_ADDRESS overrides it.
	Address string `mapstructure:"address"`

	// ExternalURL is how clients reach us, such as https://registry.acme.dev: the name in signatures and in the fixes
	// that refused people read. Default empty: what the client called us. SEALGATE_LISTEN_EXTERNAL_URL overrides it.
	ExternalURL string `mapstructure:"external_url"`

	// TLS serves HTTPS. Without it the listener speaks plain HTTP, for loopback or behind a proxy.
	TLS TLS `mapstructure:"tls"`

	// ACME gets the certificate from an authority that speaks ACME (RFC 8555), in the place of TLS's files. Default: none.
	ACME *ACME `mapstructure:"acme"`

	// TrustedProxies are the addresses, such as 10.0.0.7 or 10.0.0.0/24, of load balancers and proxies before us: what they
	// say in X-Forwarded-For is where a client asks from, in the limits of failed logins and in decisions. Default none: the
	// header is not read.
	TrustedProxies []string `mapstructure:"trusted_proxies"`
}

func (l Listen) proxies() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range l.TrustedProxies {
		if prefix, err := parsePrefix(text); err == nil { // as was validated
			all = append(all, prefix)
		}
	}
	return all
}

// TLS names a certificate. Both files are set, or none. A renewed certificate is taken without a restart.
type TLS struct {
	// Certificate is a PEM file with the certificate and its intermediates.
	Certificate string `mapstructure:"certificate"`

	// Key is a PEM file with its private key.
	Key string `mapstructure:"key"`

	// ClientCA is a PEM file with the certificates of the authority that vouches for clients' own. Default empty: clients are
	// asked for none.
	ClientCA string `mapstructure:"client_ca"`
}

// ACME is where the certificate of the listener for clients comes from. The authority proves a name by connecting to its port
// 443 (tls-alpn-01, RFC 8737), which has to lead to the listener. Account and certificates are kept in storage, under acme.
type ACME struct {
	// Domains are the names that certificates are asked for: those that clients use, and no others.
	Domains []string `mapstructure:"domains"`

	// AcceptTerms says that you accept the authority's terms of service. It has to be true.
	AcceptTerms bool `mapstructure:"accept_terms"`

	// Email is whom the authority writes to. Default empty: nobody.
	Email string `mapstructure:"email"`

	// Directory is the authority's directory. Default empty: that of Let's Encrypt.
	Directory string `mapstructure:"directory"`

	// CAFile is a PEM file of who vouches for the authority's own server. Default empty: those whom the system trusts.
	CAFile string `mapstructure:"ca_file"`
}

// Admin is the listener for /livez, /readyz and /metrics. The first two are open to everybody who reaches it; the third is for
// who shows the token or a certificate, where one of them is set.
type Admin struct {
	// Address is host:port. Default 127.0.0.1:5001. SEALGATE_ADMIN_ADDRESS overrides it.
	Address string `mapstructure:"address"`

	// TLS serves HTTPS. With client_ca, every client certificate of that authority may see the metrics.
	TLS TLS `mapstructure:"tls"`

	// TokenFile holds a token, of 16 characters or more, that may see the metrics as Bearer. Others must not be able to read
	// the file. Default empty.
	TokenFile string `mapstructure:"token_file"`

	// UnauthenticatedUnsafe lets everybody see the metrics who reaches an address that is not on loopback. Default false.
	UnauthenticatedUnsafe bool `mapstructure:"unauthenticated_unsafe"`
}

// Storage is where the gateway keeps what it knows.
type Storage struct {
	// Directory holds the embedded registry, the decisions and the generated key. Default sealgate-data.
	// SEALGATE_STORAGE_DIRECTORY overrides it.
	Directory string `mapstructure:"directory"`
}

// Clients says who may ask: people and machines with a name and password, workloads with an id-token of their platform, and
// those that do not say who they are. What each may do is said by allow in the policies.
type Clients struct {
	// Anonymous lets clients in that do not log in. Default true where nobody can log in, and false where somebody can.
	Anonymous bool `mapstructure:"anonymous"`

	// Htpasswd is a file of names and bcrypt hashes, as htpasswd -B makes it. Others must not be able to read it. Who is
	// removed from it, or gets another password, is a stranger with the next request. Default empty: nobody can log in.
	Htpasswd string `mapstructure:"htpasswd"`

	// OIDC lists workloads that show an id-token (OpenID Connect) for a password: jobs of GitHub and GitLab, pods. The first
	// that a token matches is meant.
	OIDC []Workload `mapstructure:"oidc"`

	// Certificates lists clients that show a certificate of the authority in listen.tls.client_ca. The first that one matches
	// is meant.
	Certificates []CertifiedClient `mapstructure:"certificates"`

	// Groups are names for several clients, for allow in the policies.
	Groups []Group `mapstructure:"groups"`
}

// CertifiedClient is a client that shows a certificate, by its alternative names. A common name is not looked at.
type CertifiedClient struct {
	// Name is what policies and groups call it. No user or workload has the same.
	Name string `mapstructure:"name"`

	// DNS lists patterns for DNS names, such as *.nodes.acme.dev: a star is a part of one label.
	DNS []string `mapstructure:"dns"`

	// URI lists patterns for the one URI, such as spiffe://acme.dev/ns/*/sa/node: * is a part of one path component, ** one or
	// more whole components.
	URI []string `mapstructure:"uri"`
}

// Workload is a client that shows an id-token.
type Workload struct {
	// Name is what policies and groups call it. No user has the same.
	Name string `mapstructure:"name"`

	// Issuer is the URL of who gives the token, exactly as the token says it, such as
	// https://token.actions.githubusercontent.com.
	Issuer string `mapstructure:"issuer"`

	// Audience is whom the token must be for, and for nobody else: choose the name of this gateway.
	Audience string `mapstructure:"audience"`

	// Match lists claims of the token, all of which must be as it says. Choose those that nobody else can have, such as
	// repository_id; for GitHub and GitLab one of them must say whose job it is.
	Match []Claim `mapstructure:"match"`

	// Session is how long what a client got for its token can be renewed after the token ended, up to 24h: for builds that
	// take longer than the token. Default 0s: nothing outlives the token.
	Session time.Duration `mapstructure:"session"`

	// JWKSFile is a file with the issuer's public keys, as a JSON Web Key Set. Default empty: they are asked of the issuer.
	JWKSFile string `mapstructure:"jwks_file"`

	// CAFile is a PEM file with the certificates that vouch for the issuer's own. Default empty: those of the system.
	CAFile string `mapstructure:"ca_file"`
}

// Claim is something that an id-token must say.
type Claim struct {
	// Claim is its name, or a JSON pointer to it, such as /kubernetes.io/serviceaccount/name.
	Claim string `mapstructure:"claim"`

	// Is lists what it can be, exactly.
	Is []string `mapstructure:"is"`

	// Like lists patterns for the whole of it: * is a part of one path component, ** one or more whole components. Not for
	// sub, whose beginning others can have.
	Like []string `mapstructure:"like"`
}

// Group is a name for several clients.
type Group struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Members are the names of clients.
	Members []string `mapstructure:"members"`
}

// Registry is one registry behind the gateway: embedded, or reached by URL.
type Registry struct {
	// Name is what the log calls it, and what containerd asks for with ?ns=NAME.
	Name string `mapstructure:"name"`

	// Prefix is what its repositories begin with at the gateway: behind the prefix docker.io/ the repository
	// docker.io/library/nginx is library/nginx there. Empty, or ending with a slash.
	Prefix string `mapstructure:"prefix"`

	// Embedded keeps the images in the storage directory, in this process. One registry at most is embedded.
	Embedded bool `mapstructure:"embedded"`

	// URL is scheme://host[:port] of a registry elsewhere.
	URL string `mapstructure:"url"`

	// Credentials for that registry: none, docker-config (what `docker login` left), ecr, gar or acr (what the machine is at
	// Amazon, Google or Azure), caller (those of whoever asks the gateway, by Basic), or a username and a password_file.
	// They go to that URL's host alone. Default none.
	Credentials Credentials `mapstructure:"credentials"`

	// CredentialHelper is the one program that docker-config may run for this registry, by its absolute path, such as
	// /usr/bin/docker-credential-pass, where docker's configuration has the credentials kept by it. It sees the environment
	// without our own variables. Default empty: none is run.
	CredentialHelper string `mapstructure:"credential_helper"`

	// TokenHosts are other hosts, or host:port, that may be sent these credentials by https in exchange for a token, such
	// as gitlab.com for registry.gitlab.com. Docker Hub's is known. Default: none but the registry itself.
	TokenHosts []string `mapstructure:"token_hosts"`

	// CAFile is a PEM file with the certificates that vouch for the registry's own, its token hosts' and its storage's,
	// in the place of the system's. Default empty: those of the system.
	CAFile string `mapstructure:"ca_file"`

	// ClientCertificate is a PEM file with a certificate and its intermediates, to show to the registry itself and to
	// nobody else. A renewed one is taken without a restart. Default empty: none.
	ClientCertificate string `mapstructure:"client_certificate"`

	// ClientKey is a PEM file with its private key. Others must not be able to read it.
	ClientKey string `mapstructure:"client_key"`
}

// Credentials are one word, or a username with a file that holds the password.
type Credentials struct {
	word string

	// Username to log in with.
	Username string `mapstructure:"username"`

	// PasswordFile holds the password. Others must not be able to read it.
	PasswordFile string `mapstructure:"password_file"`
}

const (
	noCredentials = "none"
	dockerConfig  = "docker-config"
	amazon        = "ecr"
	google        = "gar"
	azure         = "acr"
	callersOwn    = "caller"
)

// credentialWords are the kinds of credentials that need no more than a word.
var credentialWords = []string{noCredentials, dockerConfig, amazon, google, azure, callersOwn}

func (c *Credentials) takeWord(word string) error {
	if !slices.Contains(credentialWords, word) {
		return fmt.Errorf("is neither %s nor {username: ..., password_file: ...}", strings.Join(credentialWords, " nor ")) // may be a secret
	}
	c.word = word
	return nil
}

// TrustRoot is a Sigstore deployment: whose certificates, logs and timestamps are believed. It is in a file, or given by its
// parts; the one that is named public-good is built in.
type TrustRoot struct {
	// Name is what authorities call it in trusted_root. One named public-good says more about the root that is built in.
	Name string `mapstructure:"name"`

	// File is a trusted_root.json, or several with a line each. With tuf it holds until the first renewal. Required, unless
	// instance is set or the name is public-good.
	File string `mapstructure:"file"`

	// Instance is a deployment of one's own by its keys and certificates.
	Instance *Instance `mapstructure:"instance"`

	// TUF renews the root from a repository. Without it nothing is ever fetched.
	TUF *TUF `mapstructure:"tuf"`

	// MaxAge is how old the root may become, such as 2160h: then nothing that it vouches for counts. The age of a root that is
	// renewed begins with each renewal, that of the one that is built in with its day, that of files when they were written.
	// Default 0s: as old as may be.
	MaxAge time.Duration `mapstructure:"max_age"`
}

// TUF is a repository of The Update Framework that has a trusted_root.json.
type TUF struct {
	// URL is where it is. Default for public-good: https://tuf-repo-cdn.sigstore.dev. Required for others.
	URL string `mapstructure:"url"`

	// Root is a file with the repository's first root.json that is trusted. For public-good it is built in. Required for others.
	Root string `mapstructure:"root"`

	// Refresh is how often the repository is asked, at least 1m. Default 0s: never; what was kept is used.
	Refresh time.Duration `mapstructure:"refresh"`
}

// Instance is a Sigstore deployment of one's own. Each part is believed from the beginning; replacing one takes a file, which
// has times.
type Instance struct {
	// Fulcio are PEM files with a chain each, the certificate that issues first and the root last. Required.
	Fulcio []string `mapstructure:"fulcio"`

	// Rekor are the transparency logs.
	Rekor []Rekor `mapstructure:"rekor"`

	// CT are PEM files with the public key of a certificate log each.
	CT []string `mapstructure:"ct"`

	// TSA are PEM files with the chain of a timestamp authority each, the certificate that stamps first and the root last.
	TSA []string `mapstructure:"tsa"`
}

// Rekor is a transparency log.
type Rekor struct {
	// URL is what the log calls itself. Nothing is fetched from there.
	URL string `mapstructure:"url"`

	// Key is a PEM file with its public key.
	Key string `mapstructure:"key"`
}

// Authority is somebody whose signature we can check: exactly one of signer, key, keyless, github and certificate is set.
type Authority struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Signer is one of our own signers.
	Signer string `mapstructure:"signer"`

	// Key is a public key.
	Key PublicKey `mapstructure:"key"`

	// Keyless is an identity to which a Fulcio issues certificates.
	Keyless *Keyless `mapstructure:"keyless"`

	// GitHub is a workflow on GitHub, as its artifact attestations sign.
	GitHub *GitHub `mapstructure:"github"`

	// Certificate is a subject of one's own certificate authority.
	Certificate *Certificate `mapstructure:"certificate"`
}

// PublicKey names a public key, and when it counts.
type PublicKey struct {
	// File holds one public key in PEM: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of at least 2048 bits. Beside kms
	// it is a copy of the key there: it is used when the service cannot be asked, and must be the same when it can.
	File string `mapstructure:"file"`

	// KMS is a key that a key management service keeps, whose public half is fetched with the configuration:
	// awskms://[ENDPOINT]/[ID, ALIAS OR ARN], gcpkms://projects/..., azurekms://VAULT/KEY, hashivault://KEY or openbao://KEY.
	// Where the service is, and who asks, is read from the environment as its own tools do.
	KMS string `mapstructure:"kms"`

	// Fingerprint is the SHA-256 of the key in PKIX form, in hexadecimal, as sealgate keys public prints it. Another key, in
	// the file or the service, is refused. Default: whatever key is there.
	Fingerprint string `mapstructure:"fingerprint"`

	// ValidFrom is a date, such as 2026-01-01, whose beginning in UTC is meant, or a time, such as 2026-01-01T12:00:00Z.
	// A signature before it does not count. With valid_from or valid_until, a signature needs a trusted time. Default: from
	// ever.
	ValidFrom Moment `mapstructure:"valid_from"`

	// ValidUntil is a date or a time. A signature at or after it does not count. Default: for ever.
	ValidUntil Moment `mapstructure:"valid_until"`

	// Revoked lets no signature of the key count. The name stays known to policies. Default false.
	Revoked bool `mapstructure:"revoked"`

	// Logged lets a signature count only with an entry in a transparency log of the trusted root. Default false.
	Logged bool `mapstructure:"logged"`

	// TrustedRoot says whose logs and timestamp authorities are believed the time of a signature: public-good, or a
	// trusted_root.json. Only with valid_from, valid_until or logged. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// Keyless is an identity to which a Fulcio issues certificates. What is set must be exactly what the certificate says. A
// signature needs an entry in a transparency log, a trusted time and a certificate that was logged, as far as the trusted
// root has certificate logs.
type Keyless struct {
	// Issuer is the OpenID Connect issuer, such as https://token.actions.githubusercontent.com. Required.
	Issuer string `mapstructure:"issuer"`

	// Subject is the email address or URI in the certificate. This or subject_regexp is required.
	Subject string `mapstructure:"subject"`

	// SubjectRegexp is a regular expression (RE2) that the whole subject must match.
	SubjectRegexp string `mapstructure:"subject_regexp"`

	// SourceRepository is the URL of the repository that was built, such as https://github.com/acme/app.
	SourceRepository string `mapstructure:"source_repository"`

	// SourceRef is the ref that was built, such as refs/heads/main.
	SourceRef string `mapstructure:"source_ref"`

	// Workflow is the URL of the workflow that was started, such as
	// https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main. With a reusable workflow the subject is
	// that one, and this is who called it.
	Workflow string `mapstructure:"workflow"`

	// Trigger is what started the workflow, such as push.
	Trigger string `mapstructure:"trigger"`

	// SourceRepositoryID is the number of the repository, which is never another's.
	SourceRepositoryID string `mapstructure:"source_repository_id"`

	// SourceOwner is the URL of whose repository it is, such as https://github.com/acme.
	SourceOwner string `mapstructure:"source_owner"`

	// SourceOwnerID is the number of the owner, which is never another's.
	SourceOwnerID string `mapstructure:"source_owner_id"`

	// Runner is where the workflow ran: github-hosted or self-hosted.
	Runner string `mapstructure:"runner"`

	// TrustedRoot is public-good, which is Sigstore's public instance as of the day that `sealgate version` names, or a
	// trusted_root.json. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`

	// TransparencyLogs is of how many different logs an entry is wanted. Default 1.
	TransparencyLogs int `mapstructure:"transparency_logs"`

	// Timestamps is of how many different timestamp authorities a timestamp is wanted. Default 0: a log's time will do.
	Timestamps int `mapstructure:"timestamps"`

	// WithoutTransparencyLogUnsafe accepts signatures that are in no transparency log: whoever steals the identity signs
	// unseen. A timestamp authority must say the time then. Default false.
	WithoutTransparencyLogUnsafe bool `mapstructure:"without_transparency_log_unsafe"`

	// WithoutSCTUnsafe accepts certificates that are in no certificate log though the trusted root has one: what Fulcio
	// should not have issued stays unseen. Default false.
	WithoutSCTUnsafe bool `mapstructure:"without_sct_unsafe"`
}

// GitHub is a workflow on GitHub, whose artifact attestations count. It is a keyless identity by the names that people know.
type GitHub struct {
	// Repository is the one that is built, such as acme/app. This or owner is required.
	Repository string `mapstructure:"repository"`

	// Owner is whose repositories are built, any of them, such as acme.
	Owner string `mapstructure:"owner"`

	// RepositoryID is the number of the repository: a name can be given up and taken by others, a number cannot. Default any.
	RepositoryID string `mapstructure:"repository_id"`

	// OwnerID is the number of the owner. Default any.
	OwnerID string `mapstructure:"owner_id"`

	// Workflow is what signs: a file such as .github/workflows/release.yml, or a reusable workflow of another repository with
	// its ref, such as acme/ci/.github/workflows/build.yml@refs/heads/main. Default any of the repository's own.
	Workflow string `mapstructure:"workflow"`

	// Ref are the refs that are built, with the stars that policies have: refs/heads/main, refs/tags/v*. Required, unless
	// any_ref_unsafe is set.
	Ref []string `mapstructure:"ref"`

	// AnyRefUnsafe lets every ref count: whoever may push a branch signs. Default false.
	AnyRefUnsafe bool `mapstructure:"any_ref_unsafe"`

	// Trigger is what started the workflow, such as push. Default anything.
	Trigger string `mapstructure:"trigger"`

	// Runner is where it ran: github-hosted or self-hosted. Default either.
	Runner string `mapstructure:"runner"`

	// Host is github.com, or a tenant such as acme.ghe.com. Default github.com.
	Host string `mapstructure:"host"`

	// TrustedRoot is public-good, for public repositories, or a file with one or more trusted roots, a line each, as gh
	// attestation trusted-root prints them: with GitHub's own, for private repositories too. A root with a transparency log
	// wants an entry in it, one without wants a timestamp. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// Certificate is a subject of one's own certificate authority. Its whole chain must be valid at the time of a signature.
type Certificate struct {
	// Roots is a PEM file with one to ten root certificates. Required.
	Roots string `mapstructure:"roots"`

	// Intermediates is a PEM file with up to ten certificates for the path to a root. Those that come with a signature are
	// used as well. Default none.
	Intermediates string `mapstructure:"intermediates"`

	// Issuer is what the certificate's extension for the OpenID Connect issuer says, where the authority is a Fulcio.
	// Default: whatever it says.
	Issuer string `mapstructure:"issuer"`

	// Subject is the email address or URI in the certificate. This or subject_regexp is required.
	Subject string `mapstructure:"subject"`

	// SubjectRegexp is a regular expression (RE2) that the whole subject must match.
	SubjectRegexp string `mapstructure:"subject_regexp"`

	// TrustedRoot says whose logs and timestamp authorities are believed the time of a signature: public-good, or a
	// trusted_root.json; a signature without such a time does not count. Default none: the chain must be valid now.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// publicGood is the word for the trusted root that is built in.
const publicGood = "public-good"

// Moment is a date, of which the beginning in UTC is meant, or a time.
type Moment string

// time is zero for an empty moment.
func (m Moment) time() (time.Time, error) {
	if m == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, string(m)); err == nil {
		return day, nil
	}
	return time.Parse(time.RFC3339, string(m))
}

// Signer is something that we sign with: at most one of key, kms, pkcs11 and keyless is set.
type Signer struct {
	// Name is what policies and authorities call it.
	Name string `mapstructure:"name"`

	// Key is a private key in a file. Default, where none of the others is set: the key that the gateway generates.
	Key PrivateKey `mapstructure:"key"`

	// KMS is a key that a key management service keeps, by its reference: awskms://, gcpkms://, azurekms://, hashivault://
	// or openbao://, as cosign writes it. Who asks, the service's own variables say, such as AWS_REGION or VAULT_ADDR.
	KMS string `mapstructure:"kms"`

	// Public is a file with a copy of the public half of a key in a service, in PEM. With it a gateway starts while the service
	// cannot be asked, and one whose key was changed there does not. Only with kms. Default none.
	Public string `mapstructure:"public"`

	// PKCS11 is a key in a hardware security module. It needs the build for such modules.
	PKCS11 *PKCS11 `mapstructure:"pkcs11"`

	// Keyless signs with certificates that a Fulcio issues to an identity of ours.
	Keyless *KeylessSigner `mapstructure:"keyless"`

	// Formats are auto, or a list of bundle (what cosign v3 reads first) and tag (cosign v2's .sig). Auto follows what
	// the image carries and hides nobody's signature; an image that carries nothing gets both. With keyless and without a log
	// of version 1, auto is bundle, and tag is refused. Default auto.
	Formats Formats `mapstructure:"formats"`
}

// KeylessSigner names who vouches for us, and as whom.
type KeylessSigner struct {
	// Fulcio is the URL of the certificate authority. The token goes there and nowhere else, so it is https but for loopback.
	Fulcio string `mapstructure:"fulcio"`

	// IdentityTokenFile is a file with an OpenID Connect token that Fulcio takes, such as a projected one of Kubernetes. It is
	// read anew for each signature.
	IdentityTokenFile string `mapstructure:"identity_token_file"`

	// Identity is who the certificates must be for. Signatures of anybody else are not attached.
	Identity SignerIdentity `mapstructure:"identity"`

	// Timestamp are one to four timestamp authorities, by whole URLs, each of which says the time of each signature; a
	// signature under a tag has room for the first alone. With a log of version 1, which says the time as well, may be none.
	Timestamp []string `mapstructure:"timestamp"`

	// Rekor is the URL of a transparency log that each signature goes to.
	Rekor string `mapstructure:"rekor"`

	// RekorVersion is that of the log's API, 1 or 2. Signatures in a log of version 1 have a place under the tags of cosign v2,
	// which knows no other log. Default 2.
	RekorVersion int `mapstructure:"rekor_version"`

	// WithoutTransparencyLogUnsafe, instead of rekor, signs in no log, and believes this identity without: whoever steals it
	// signs unseen. Default false.
	WithoutTransparencyLogUnsafe bool `mapstructure:"without_transparency_log_unsafe"`

	// TrustedRoot is what the signatures are verified with before they are attached, and when they are pulled: a name of
	// trust_roots, or a trusted_root.json. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// SignerIdentity is an identity, all of it exactly.
type SignerIdentity struct {
	// Issuer is who gives out the tokens, as certificates have it.
	Issuer string `mapstructure:"issuer"`

	// Subject is the certificates' subject: an address, or a URI.
	Subject string `mapstructure:"subject"`
}

// PrivateKey names an encrypted private key and where its password is.
type PrivateKey struct {
	// File is an encrypted cosign key with mode 0600, from `sealgate keys generate` or `cosign generate-key-pair`.
	// Default gateway.key in the storage directory, which is generated on the first start; no other ever is.
	File string `mapstructure:"file"`

	// PasswordEnv is the environment variable that holds the password. Default SEALGATE_KEY_PASSWORD.
	PasswordEnv string `mapstructure:"password_env"`

	// PasswordFile is a file that holds the password, instead of a variable. Others must not be able to read it. For
	// gateway.key, when no variable is set, it is gateway.password in the storage directory.
	PasswordFile string `mapstructure:"password_file"`
}

// PKCS11 names a key in a token.
type PKCS11 struct {
	// Module is the library of the module's maker, such as /usr/lib/softhsm/libsofthsm2.so.
	Module string `mapstructure:"module"`

	// Token is the label of the token.
	Token string `mapstructure:"token"`

	// Label is the label of the key pair in the token.
	Label string `mapstructure:"label"`

	// PINEnv is the environment variable that holds the PIN. This or pin_file is required.
	PINEnv string `mapstructure:"pin_env"`

	// PINFile is a file that holds the PIN. Others must not be able to read it.
	PINFile string `mapstructure:"pin_file"`
}

// Formats are the layouts of a seal.
type Formats []string

func (f *Formats) takeWord(word string) error {
	if word != "auto" {
		return errors.New("is neither auto nor a list of bundle and tag")
	}
	*f = Formats{word}
	return nil
}

// Scanner is something that looks for vulnerabilities in images.
type Scanner struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Exec is a program that prints a report. It is run for each image anew, without network, keys and environment.
	Exec *ScannerProgram `mapstructure:"exec"`

	// Embedded is our own scanner: a child lists the packages, which are looked up in a local database.
	Embedded *EmbeddedScanner `mapstructure:"embedded"`

	// Harbor is a service that speaks Harbor's Pluggable Scanner API.
	Harbor *HarborAdapter `mapstructure:"harbor"`

	// Timeout is the longest that a scan may take, between 10s and 1h. Default 5m.
	Timeout time.Duration `mapstructure:"timeout"`
}

// EmbeddedScanner is our own scanner.
type EmbeddedScanner struct {
	// Database is the directory of its database, which sealgate scan --update-database fills. Default: none, and then
	// packages are listed and not looked up, which no policy takes for clean.
	Database string `mapstructure:"database"`
}

// HarborAdapter is a service that speaks Harbor's Pluggable Scanner API, version 1.1 or 1.2.
type HarborAdapter struct {
	// URL is scheme://host[:port] of the adapter, before /api/v1. Required.
	URL string `mapstructure:"url"`

	// TokenFile holds what the adapter wants to see as a Bearer token. Others must not be able to read it. Default: none.
	TokenFile string `mapstructure:"token_file"`

	// Door is a listener where the adapter pulls what it is to scan: one image at a time, with a password for one scan.
	Door Door `mapstructure:"door"`
}

// Door is a listener for scanners.
type Door struct {
	// Address is host:port to listen at. It speaks plain HTTP: keep it on loopback, inside, or behind a proxy with TLS.
	// Required.
	Address string `mapstructure:"address"`

	// URL is how the adapter reaches it: scheme://host[:port]. Default: http:// and the address.
	URL string `mapstructure:"url"`
}

// ScannerProgram is a scanner that is a program, such as Trivy or Grype.
type ScannerProgram struct {
	// Command is the program, by an absolute path or a name in the usual directories, and its arguments. {layout} stands
	// for the image, a directory that is an OCI layout, and has to be among them; {report} for the file that the report
	// is to be written to, without which it is read from standard output; {sbom} for one that a bill of materials in
	// CycloneDX is to be written to, for scanners whose report does not count the packages that they saw.
	Command []string `mapstructure:"command"`

	// Report is what the report is written in: trivy, grype or sarif.
	Report string `mapstructure:"report"`

	// VersionCommand says in JSON which version scanner and database have. Default for trivy: its version -f json, for
	// grype: its db status -o json, for sarif: none.
	VersionCommand []string `mapstructure:"version_command"`

	// Environment lists NAME=VALUE for the program, which has no other environment. No secrets: it is run on what
	// anybody pushed.
	Environment []string `mapstructure:"environment"`

	// Digest pins the program's file: sha256: and 64 digits. Default: whatever lies there is run.
	Digest string `mapstructure:"digest"`
}

// Verification bounds what is remembered of what was proven.
type Verification struct {
	// CacheTTL is how long a proven signature is believed before it is looked up again, between 1s and 1h: so long may a
	// signature that was removed still count. Default 1m.
	CacheTTL time.Duration `mapstructure:"cache_ttl"`

	// OutageTTL is how long what is attached to an image is believed while the registry behind the gateway cannot be asked
	// what is attached now, up to 168h: so long a removed signature may count, and a newer scan be missed, in an outage. 0s
	// decides nothing in an outage. Default 1h.
	OutageTTL time.Duration `mapstructure:"outage_ttl"`

	// CacheEntries is how many images are remembered. Default 100000.
	CacheEntries int `mapstructure:"cache_entries"`
}

// Delete says whether clients may delete.
type Delete struct {
	// Allowed lets clients delete manifests, tags and blobs where they may push. What protects an image stays
	// undeletable. Default false.
	Allowed bool `mapstructure:"allowed"`
}

const (
	defaultKeyFile      = "gateway.key"
	defaultPasswordFile = "gateway.password"
	defaultPasswordEnv  = "SEALGATE_KEY_PASSWORD"
)

// defaults is the configuration without a file.
func defaults() Config {
	return Config{
		Listen:       Listen{Address: "127.0.0.1:5000"},
		Admin:        Admin{Address: "127.0.0.1:5001"},
		Storage:      Storage{Directory: "sealgate-data"},
		Clients:      Clients{Anonymous: true},
		Registries:   []Registry{{Name: "local", Embedded: true, Credentials: Credentials{word: noCredentials}}},
		TrustRoots:   []TrustRoot{{Name: publicGood}},
		Authorities:  []Authority{{Name: "gateway", Signer: "gateway"}},
		Signers:      []Signer{{Name: "gateway", Formats: Formats{"auto"}}},
		Verification: Verification{CacheTTL: time.Minute, OutageTTL: time.Hour, CacheEntries: 100_000},
		Policies: []policy.Document{{
			Name:         "default",
			Repositories: []string{"**"},
			Mode:         "enforce",
			Pull:         &policy.PullDocument{SignedBy: &policy.SignedBy{Any: []string{"gateway"}}},
			Push: &policy.PushDocument{
				Image: policy.ImageDocument{NonRoot: "deny"},
				Seal:  &policy.SealDocument{Signer: "gateway"},
			},
		}},
	}
}
