package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Kind is what a request asks for: one for each endpoint and method of the distribution specification.
type Kind string

// The kinds. Their values are label values of metrics.
const (
	Ping           Kind = "ping"            // GET /v2/
	ListCatalog    Kind = "list_catalog"    // GET /v2/_catalog
	ListTags       Kind = "list_tags"       // GET /v2/<name>/tags/list
	ListReferrers  Kind = "list_referrers"  // GET /v2/<name>/referrers/<digest>
	PullManifest   Kind = "pull_manifest"   // GET, HEAD /v2/<name>/manifests/<reference>
	PushManifest   Kind = "push_manifest"   // PUT /v2/<name>/manifests/<reference>
	DeleteManifest Kind = "delete_manifest" // DELETE /v2/<name>/manifests/<reference>
	PullBlob       Kind = "pull_blob"       // GET, HEAD /v2/<name>/blobs/<digest>
	DeleteBlob     Kind = "delete_blob"     // DELETE /v2/<name>/blobs/<digest>
	StartUpload    Kind = "start_upload"    // POST /v2/<name>/blobs/uploads/
	UploadStatus   Kind = "upload_status"   // GET /v2/<name>/blobs/uploads/<id>
	UploadChunk    Kind = "upload_chunk"    // PATCH /v2/<name>/blobs/uploads/<id>
	FinishUpload   Kind = "finish_upload"   // PUT /v2/<name>/blobs/uploads/<id>
	CancelUpload   Kind = "cancel_upload"   // DELETE /v2/<name>/blobs/uploads/<id>
	GiveToken      Kind = "give_token"      // GET, POST /token
)

// Target is a request's method, path and query, parsed once. Routing, policy, the upstream's URL and the decision record
// all come from it, so that no two of them can read a request differently.
type Target struct {
	Kind Kind
	Head bool // HEAD instead of GET

	Repo   string
	Tag    string        // of a manifest; either Tag or Digest is set
	Digest digest.Digest // of a manifest, blob or subject
	Upload string        // the upload's ticket

	N            int    // how many entries of a list, -1 when not asked
	Last         string // the entry that a list continues behind
	ArtifactType string // of referrers
	Mount        digest.Digest
	From         string // the repository that Mount is in
	Namespace    string // containerd's ns: the registry that the client means
}

// Reference is the manifest's tag or digest, as asked for.
func (t Target) Reference() string {
	if t.Tag != "" {
		return t.Tag
	}
	return t.Digest.String()
}

// Image is how a person writes what is asked for: name:tag or name@digest.
func (t Target) Image() string {
	if t.Tag != "" {
		return t.Repo + ":" + t.Tag
	}
	return t.Repo + "@" + t.Digest.String()
}

// Bounds of a request line.
const (
	maxPath       = 4096 // bytes; an upload's ticket is the longest part
	maxQuery      = 2048 // bytes
	maxParameters = 6
	maxRepository = 255 // bytes, as distribution has it
	maxPageSize   = 10_000
)

// parse reads a request's target. What a gateway and a registry could read differently is refused here: any percent sign
// in the path, empty components, unknown and repeated parameters.
func parse(r *http.Request) (Target, error) {
	t := Target{N: -1}
	path := r.URL.EscapedPath()
	switch {
	case r.URL.IsAbs() || r.URL.Host != "" || r.URL.User != nil:
		return t, badRequest("UNSUPPORTED", "the request target must be a path")
	case len(path) > maxPath:
		return t, badRequest("UNSUPPORTED", "the path is longer than %d bytes", maxPath)
	case path == tokenPath:
		return t, t.choose(r.Method, kinds{"GET": GiveToken, "POST": GiveToken}) // token.go reads the query
	case strings.ContainsAny(path, "%\\;") || !strings.HasPrefix(path, "/v2/"):
		return t, &requestError{http.StatusNotFound, "UNSUPPORTED", "no such endpoint; this is an OCI registry, its paths begin with /v2/ and hold nothing encoded"}
	}

	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return t, err
	}
	if err := t.parsePath(r.Method, path); err != nil {
		return t, err
	}
	return t, t.takeQuery(query)
}

// parsePath reads the path from its end, where every endpoint ends in two or three fixed components: whatever the name in
// front of them is made of, there is one reading.
func (t *Target) parsePath(method, path string) error {
	parts := strings.Split(path[len("/v2/"):], "/")
	n := len(parts)
	switch {
	case n == 1 && parts[0] == "":
		return t.choose(method, kinds{"GET": Ping, "HEAD": Ping})
	case n == 1 && parts[0] == "_catalog":
		return t.choose(method, kinds{"GET": ListCatalog})
	case n >= 3 && parts[n-2] == "manifests":
		if err := t.takeReference(parts[n-1]); err != nil {
			return err
		}
		return t.chooseFor(parts[:n-2], method, kinds{"GET": PullManifest, "HEAD": PullManifest, "PUT": PushManifest, "DELETE": DeleteManifest})
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list":
		return t.chooseFor(parts[:n-2], method, kinds{"GET": ListTags})
	case n >= 3 && parts[n-2] == "referrers":
		if err := t.takeDigest(parts[n-1]); err != nil {
			return err
		}
		return t.chooseFor(parts[:n-2], method, kinds{"GET": ListReferrers})
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads" && parts[n-1] == "":
		return t.chooseFor(parts[:n-3], method, kinds{"POST": StartUpload})
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads": // the specification's own slash is often forgotten
		return t.chooseFor(parts[:n-2], method, kinds{"POST": StartUpload})
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		t.Upload = parts[n-1]
		if !isTicket(t.Upload) {
			return &requestError{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload"}
		}
		return t.chooseFor(parts[:n-3], method, kinds{"GET": UploadStatus, "PATCH": UploadChunk, "PUT": FinishUpload, "DELETE": CancelUpload})
	case n >= 3 && parts[n-2] == "blobs":
		if err := t.takeDigest(parts[n-1]); err != nil {
			return err
		}
		return t.chooseFor(parts[:n-2], method, kinds{"GET": PullBlob, "HEAD": PullBlob, "DELETE": DeleteBlob})
	}
	return &requestError{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
}

type kinds map[string]Kind // by method

func (t *Target) choose(method string, by kinds) error {
	kind, ok := by[method]
	if !ok {
		return &requestError{http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not allowed here"}
	}
	t.Kind, t.Head = kind, method == http.MethodHead
	return nil
}

func (t *Target) chooseFor(name []string, method string, by kinds) error {
	t.Repo = strings.Join(name, "/")
	if err := checkRepository(t.Repo); err != nil {
		return err
	}
	return t.choose(method, by)
}

func checkRepository(name string) error {
	if len(name) > maxRepository || !isRepository(name) {
		return badRequest("NAME_INVALID", "the repository's name is not valid: lower-case letters, digits and single . _ - inside components, at most %d characters", maxRepository)
	}
	return nil
}

func (t *Target) takeReference(reference string) error {
	if strings.Contains(reference, ":") {
		return t.takeDigest(reference)
	}
	if !isTag(reference) {
		return badRequest("MANIFEST_INVALID", "the tag is not valid: at most 128 letters, digits, . _ and -")
	}
	t.Tag = reference
	return nil
}

func (t *Target) takeDigest(s string) error {
	if err := manifest.CheckDigest(digest.Digest(s)); err != nil {
		return badRequest("DIGEST_INVALID", "the digest is not valid: sha256: or sha512: and all its lower-case hexadecimal digits")
	}
	t.Digest = digest.Digest(s)
	return nil
}

// parseQuery is strict where url.ParseQuery is lenient: no parameter twice, nothing that needs a second look.
func parseQuery(raw string) (map[string]string, error) {
	if raw == "" {
		return nil, nil
	}
	if len(raw) > maxQuery || strings.Count(raw, "&") >= maxParameters {
		return nil, badRequest("UNSUPPORTED", "the query is longer than %d bytes or has more than %d parameters", maxQuery, maxParameters)
	}
	query := map[string]string{}
	for part := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(part, "=")
		value, err := url.QueryUnescape(value)
		if err != nil || key == "" {
			return nil, badRequest("UNSUPPORTED", "the query is malformed")
		}
		if _, twice := query[key]; twice {
			return nil, badRequest("UNSUPPORTED", "a query parameter is there twice")
		}
		query[key] = value
	}
	return query, nil
}

// parameters lists what each kind of request may carry. ns is containerd's word for the registry that it means.
var parameters = map[Kind][]string{
	Ping:          {"ns"},
	ListCatalog:   {"n", "last", "ns"},
	ListTags:      {"n", "last", "ns"},
	ListReferrers: {"artifactType", "ns"},
	PullManifest:  {"ns"},
	PullBlob:      {"ns"},
	StartUpload:   {"mount", "from", "digest", "ns"},
	FinishUpload:  {"digest", "ns"},
	PushManifest:  {"ns"},
	UploadChunk:   {"ns"},
	UploadStatus:  {"digest", "ns"}, // clients ask where the end of an upload went to
	CancelUpload:  {"ns"},
}

func (t *Target) takeQuery(query map[string]string) error {
	allowed := parameters[t.Kind]
	found := 0
	for _, key := range allowed {
		value, ok := query[key]
		if !ok {
			continue
		}
		found++
		if err := t.takeParameter(key, value); err != nil {
			return err
		}
	}
	if found != len(query) {
		return badRequest("UNSUPPORTED", "a query parameter is unknown here; known are: %s", strings.Join(allowed, ", "))
	}
	return nil
}

func (t *Target) takeParameter(key, value string) error {
	switch key {
	case "n":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || strings.HasPrefix(value, "+") {
			return badRequest("PAGINATION_NUMBER_INVALID", "n must be a number of entries, 0 or more")
		}
		t.N = min(n, maxPageSize)
	case "last":
		if len(value) > maxRepository || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return badRequest("UNSUPPORTED", "last must be an entry of the list")
		}
		t.Last = value
	case "artifactType":
		if len(value) > maxRepository {
			return badRequest("UNSUPPORTED", "artifactType is too long")
		}
		t.ArtifactType = value
	case "digest":
		return t.takeDigest(value)
	case "mount":
		if err := manifest.CheckDigest(digest.Digest(value)); err != nil {
			return badRequest("DIGEST_INVALID", "mount must be a digest")
		}
		t.Mount = digest.Digest(value)
	case "from":
		if err := checkRepository(value); err != nil {
			return err
		}
		t.From = value
	case "ns":
		if len(value) > maxRepository {
			return badRequest("NAME_UNKNOWN", "ns names no registry behind this gateway")
		}
		t.Namespace = value
	}
	return nil
}
