package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// known is what the tests' policies refer to. again is the key of ci under a second name.
func known() Known {
	return Known{
		Authorities: map[string]string{"gateway": "f1", "ci": "f2", "release": "f3", "again": "f2"},
		Signers:     map[string]string{"gateway": "f1", "spare": "f4", "reserve": "f4"},
		Bases:       map[string][]Base{"bases.yaml": {{Name: "debian", DiffIDs: []digest.Digest{debian}, Refreshed: "2026-11-20", Image: "debian:13", Digests: []digest.Digest{debianImage}}, {Name: "old", DiffIDs: []digest.Digest{old}, Until: "2026-11-23", Refreshed: "2026-11-01"}}, "empty.yaml": {}},
		Groups:      []string{"dev"},
		Scanners:    map[string]string{"default": "s1", "second": "s2"},
	}
}

// debian is the one layer of an approved base image, old that of one which was approved until yesterday.
var debian, debianImage, old = digest.FromString("debian"), digest.FromString("debian's manifest"), digest.FromString("old")

// spotless is an image that [full] admits, and fine in every way.
func spotless() Image {
	return Image{
		Runnable: true, User: "65532:65532", Layers: 2, Bytes: 100,
		Config:  &Config{Labels: map[string]string{"team": "a"}, Created: now.AddDate(0, -1, 0), OS: "linux", Architecture: "amd64", HistoryLayers: 2},
		Content: &Content{Entries: 7, DiffIDs: []digest.Digest{debian, digest.FromString("ours")}, System: System{ID: "debian", Version: "13"}, Program: "amd64", Programs: []string{"amd64"}},
	}
}

// full is a document with every field set.
func full() Document {
	return Document{
		Name: "production", Repositories: []string{"prod/**"}, Mode: "enforce",
		Pull: &PullDocument{DigestOnly: true, SignedBy: &SignedBy{Any: []string{"gateway", "ci"}}},
		Push: &PushDocument{
			Image: ImageDocument{
				NonRoot: "deny", RootGroup: "deny", Secrets: "deny", Setuid: "deny", Capabilities: "deny", Devices: "deny", Paths: "deny",
				WorldWritable: "deny", Minimal: "deny", Caches: "deny", EndOfLife: "deny", Ports: "deny", Volumes: "deny", Future: "deny", Platform: "deny", History: "deny",
				Labels:     &LabelsDocument{Required: []string{"team"}, OnMiss: "deny"},
				Profile:    &ProfileDocument{Any: []string{"scratch", "no_package_manager"}, OnMiss: "deny"},
				Base:       &BaseDocument{Approved: "bases.yaml", Scratch: true, OnMiss: "deny"},
				BaseClaim:  "deny",
				Age:        &AgeDocument{Max: 90 * 24 * time.Hour, OnMiss: "deny"},
				Exceptions: []ExceptionDocument{{Check: "setuid", Path: "usr/bin/su", Until: "2027-01-31", Reason: "for a while"}},
				MaxBytes:   1 << 30, MaxLayers: 20, MaxFiles: 1000,
			},
			Seal: &SealDocument{Signer: "gateway", Summary: true},
		},
	}
}

// named is a document that only has a name and patterns of its own.
func named(name string, patterns ...string) Document {
	doc := full()
	doc.Name, doc.Repositories = name, patterns
	return doc
}

func mustCompile(t testing.TB, docs ...Document) *Policy {
	t.Helper()
	p, err := Compile(docs, known())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// faults lists what is wrong, as "path: text".
func faults(t *testing.T, err error) []string {
	t.Helper()
	var all []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v, want faults", err)
	}
	for _, one := range joined.Unwrap() {
		fault := new(Fault)
		if !errors.As(one, &fault) || fault.Error() != fault.Path+": "+fault.Err.Error() || errors.Unwrap(fault) != fault.Err {
			t.Errorf("%v is no fault", one)
		}
		all = append(all, fault.Error())
	}
	return all
}

func TestEachFaultHasItsPlaceAndSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Document)
		want   []string // the beginning of each fault
	}{
		"no name":                 {func(d *Document) { d.Name = "" }, []string{"[0].name: a policy needs a name"}},
		"a long name":             {func(d *Document) { d.Name = strings.Repeat("x", maxName+1) }, []string{"[0].name: the name is longer than 64 bytes"}},
		"a name of two lines":     {func(d *Document) { d.Name = "a\nb" }, []string{`[0].name: the name "a\nb" holds more than visible ASCII`}},
		"a name with quotes":      {func(d *Document) { d.Name = `a"b` }, []string{"[0].name: the name "}},
		"an escape in the name":   {func(d *Document) { d.Name = "a\x1b[2J" }, []string{"[0].name: the name "}},
		"another mode":            {func(d *Document) { d.Mode = "Audit" }, []string{`[0].mode: mode "Audit" is neither enforce nor audit`}},
		"no repositories":         {func(d *Document) { d.Repositories = nil }, []string{`[0].repositories: names no repository; for all of them write ["**"]`}},
		"an empty list of them":   {func(d *Document) { d.Repositories = []string{} }, []string{"[0].repositories: names no repository"}},
		"patterns that are none":  {func(d *Document) { d.Repositories = []string{"a", "[a]", ""} }, []string{"[0].repositories[1]: pattern", "[0].repositories[2]: empty pattern"}},
		"neither pull nor push":   {func(d *Document) { d.Pull, d.Push = nil, nil }, []string{"[0]: has neither pull nor push"}},
		"a pull without a demand": {func(d *Document) { d.Pull = &PullDocument{DigestOnly: true} }, []string{"[0].pull: demands no signature; name who must have signed in signed_by, or say admit_unverified: true"}},
		"signed and unverified":   {func(d *Document) { d.Pull.AdmitUnverified = true }, []string{"[0].pull.admit_unverified: contradicts signed_by"}},
		"signed by no form":       {func(d *Document) { *d.Pull.SignedBy = SignedBy{} }, []string{"[0].pull.signed_by: write exactly one of any, all, and of with at_least"}},
		"signed by two forms":     {func(d *Document) { d.Pull.SignedBy.All = []string{"ci"} }, []string{"[0].pull.signed_by: write exactly one"}},
		"signed by three forms": {func(d *Document) {
			*d.Pull.SignedBy = SignedBy{Any: []string{"ci"}, All: []string{"ci"}, Of: []string{"ci"}, AtLeast: 1}
		}, []string{"[0].pull.signed_by: write exactly one"}},
		"any of nobody":               {func(d *Document) { d.Pull.SignedBy.Any = []string{} }, []string{"[0].pull.signed_by.any: names nobody"}},
		"all of nobody":               {func(d *Document) { *d.Pull.SignedBy = SignedBy{All: []string{}} }, []string{"[0].pull.signed_by.all: names nobody"}},
		"some of nobody":              {func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{}} }, []string{"[0].pull.signed_by.of: names nobody", "[0].pull.signed_by.at_least: at_least must be between 1 and 0"}},
		"an unknown authority":        {func(d *Document) { d.Pull.SignedBy.Any[1] = "CI" }, []string{`[0].pull.signed_by.any[1]: unknown authority "CI"; authorities has again, ci, gateway, release`}},
		"an authority of no name":     {func(d *Document) { d.Pull.SignedBy.Any[0] = "" }, []string{`[0].pull.signed_by.any[0]: unknown authority ""`}},
		"an authority twice":          {func(d *Document) { d.Pull.SignedBy.Any = []string{"ci", "gateway", "ci"} }, []string{`[0].pull.signed_by.any[2]: names "ci" twice`}},
		"all of one twice":            {func(d *Document) { *d.Pull.SignedBy = SignedBy{All: []string{"ci", "ci"}} }, []string{`[0].pull.signed_by.all[1]: names "ci" twice`}},
		"one key under two names":     {func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci", "again"}, AtLeast: 2} }, []string{`[0].pull.signed_by.of[1]: "again" is the same key as "ci"`}},
		"all of one key":              {func(d *Document) { *d.Pull.SignedBy = SignedBy{All: []string{"again", "ci"}} }, []string{`[0].pull.signed_by.all[1]: "ci" is the same key as "again"`}},
		"at least 0":                  {func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci", "gateway"}} }, []string{"[0].pull.signed_by.at_least: at_least must be between 1 and 2"}},
		"at least -1":                 {func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci"}, AtLeast: -1} }, []string{"[0].pull.signed_by.at_least: at_least must be between 1 and 1"}},
		"at least more than there":    {func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci"}, AtLeast: 2} }, []string{"[0].pull.signed_by.at_least: at_least must be between 1 and 1"}},
		"at least any":                {func(d *Document) { d.Pull.SignedBy.AtLeast = 1 }, []string{"[0].pull.signed_by.at_least: at_least goes with of"}},
		"a push without a seal":       {func(d *Document) { d.Push.Seal = nil }, []string{"[0].push: does not seal; name the signer in seal, or say accept_unsealed: true"}},
		"sealed and unsealed":         {func(d *Document) { d.Push.AcceptUnsealed = true }, []string{"[0].push.accept_unsealed: contradicts seal"}},
		"an unknown signer":           {func(d *Document) { d.Push.Seal.Signer = "ci" }, []string{`[0].push.seal.signer: unknown signer "ci"; signers has gateway, reserve, spare`}},
		"a signer of no name":         {func(d *Document) { d.Push.Seal.Signer = "" }, []string{`[0].push.seal.signer: unknown signer ""`}},
		"signer and signers":          {func(d *Document) { d.Push.Seal.Signers = []string{"spare"} }, []string{"[0].push.seal.signers: contradicts signer"}},
		"signers that are none":       {func(d *Document) { *d.Push.Seal = SealDocument{Signers: []string{}} }, []string{"[0].push.seal.signers: names nobody"}},
		"a signer twice":              {func(d *Document) { *d.Push.Seal = SealDocument{Signers: []string{"spare", "spare"}} }, []string{`[0].push.seal.signers[1]: "spare" signs already as "spare"`}},
		"two signers of one key":      {func(d *Document) { *d.Push.Seal = SealDocument{Signers: []string{"spare", "reserve"}} }, []string{`[0].push.seal.signers[1]: "reserve" signs already as "spare"`}},
		"an unknown second signer":    {func(d *Document) { *d.Push.Seal = SealDocument{Signers: []string{"spare", "ci"}} }, []string{`[0].push.seal.signers[1]: unknown signer "ci"`}},
		"another action":              {func(d *Document) { d.Push.Image.NonRoot = "Deny" }, []string{`[0].push.image.nonroot: "Deny" is none of allow, warn, deny`}},
		"negative bytes":              {func(d *Document) { d.Push.Image.MaxBytes = -1 }, []string{"[0].push.image.max_bytes: is negative"}},
		"negative files":              {func(d *Document) { d.Push.Image.MaxFiles = -1 }, []string{"[0].push.image.max_files: is negative"}},
		"negative layers":             {func(d *Document) { d.Push.Image.MaxLayers = -1 }, []string{"[0].push.image.max_layers: is negative"}},
		"blobs of another kind":       {func(d *Document) { d.Pull.Blobs = "closed" }, []string{"[0].pull.blobs: is neither open nor referenced"}},
		"an immutable tag of slashes": {func(d *Document) { d.Push.ImmutableTags = []string{"v1", "a+b"} }, []string{"[0].push.immutable_tags[1]: pattern \"a+b\": '+' cannot be in a tag"}},
		"three faults": {func(d *Document) { d.Name, d.Mode, d.Push.Image.MaxBytes = "", "x", -1 }, []string{
			"[0].name: ", "[0].mode: ", "[0].push.image.max_bytes: ",
		}},
	} {
		doc := full()
		c.change(&doc)
		p, err := Compile([]Document{doc}, known())
		if p != nil || err == nil {
			t.Errorf("%s: compiles", name)
			continue
		}
		got := faults(t, err)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: got %q, want %q", name, got[i], want)
			}
		}
	}
}

func TestThreat139_APolicyForNothingIsRefused(t *testing.T) {
	for _, docs := range [][]Document{nil, {}} {
		p, err := Compile(docs, known())
		if p != nil || err == nil || !strings.Contains(err.Error(), "no policy") {
			t.Errorf("got %v, %v", p, err)
		}
	}
	if p, err := Compile([]Document{full()}, Known{}); p != nil || err == nil || !strings.Contains(err.Error(), "authorities has none") {
		t.Errorf("without authorities: got %v, %v", p, err)
	}
}

func TestThreat088_PoliciesThatAreNeverReachedAreRefused(t *testing.T) {
	for _, c := range []struct {
		first, second []string
		want          string
	}{
		{[]string{"**"}, []string{"prod/**"}, `[1].repositories[0]: is never reached: policy "first" covers prod/** with **`},
		{[]string{"**"}, []string{"**"}, "[1].repositories[0]: is never reached"},
		{[]string{"a", "prod/**"}, []string{"a/b", "prod/*/app"}, `[1].repositories[1]: is never reached: policy "first" covers prod/*/app with prod/**`},
		{[]string{"prod/*"}, []string{"prod/a-*"}, "[1].repositories[0]: is never reached"},
		{[]string{"prod/a-*"}, []string{"prod/*"}, ""},
		{[]string{"prod/*"}, []string{"prod/**"}, ""},
		{[]string{"*"}, []string{"**"}, ""},
		{[]string{"*/*"}, []string{"**"}, ""},
		{[]string{"**/a"}, []string{"**/b", "a/**"}, ""},
		{[]string{"team-a"}, []string{"team-abc", "team-a/**"}, ""},
	} {
		_, err := Compile([]Document{named("first", c.first...), named("second", c.second...)}, known())
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q then %q: %v", c.first, c.second, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(faults(t, err)[0], c.want)):
			t.Errorf("%q then %q: got %v, want %s", c.first, c.second, err, c.want)
		}
	}
}

func TestPoliciesHaveNamesOfTheirOwn(t *testing.T) {
	_, err := Compile([]Document{named("a", "x"), named("b", "y"), named("a", "z")}, known())
	if err == nil || err.Error() != `[2].name: a second policy named "a"` {
		t.Errorf("got %v", err)
	}
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	p := mustCompile(t, Document{
		Name: "a", Repositories: []string{"**"},
		Pull: &PullDocument{AdmitUnverified: true}, Push: &PushDocument{AcceptUnsealed: true},
	})
	r := p.Rule("any/thing")
	if r.Audit() || r.Seals() || r.NeedsEvidence() || !r.AllowsPull() || !r.AllowsPush() {
		t.Errorf("got %+v", r)
	}
	image := r.push.Image
	for i := range checks {
		if action := checks[i].action(&image); action != nil && *action != "allow" {
			t.Errorf("%s is %q", checks[i].name, *action)
		}
	}
	if image.MaxLayers != DefaultMaxLayers || image.Labels != nil || image.Base != nil || r.ImageNeeds() != (ImageNeeds{}) {
		t.Errorf("got %+v", image)
	}
}

func TestARuleTellsWhatItWants(t *testing.T) {
	audit := full()
	audit.Mode, audit.Push = "audit", nil
	p := mustCompile(t, audit)
	r, none := p.Rule("prod/app"), p.Rule("other")
	if !r.Audit() || !r.AllowsPush() || !r.AllowsPull() || !r.NeedsEvidence() || r.Seals() || r.Name() != "production" {
		t.Errorf("got %+v", r)
	}
	if none != nil || none.Audit() || none.AllowsPush() || none.AllowsPull() || none.NeedsEvidence() || none.Seals() || none.Signers() != nil || none.Name() != "" {
		t.Errorf("got %+v", none)
	}
	if got := mustCompile(t, full()).Rule("prod/app").Signers(); !slices.Equal(got, []string{"gateway"}) {
		t.Errorf("got %q", got)
	}
}

func TestAPolicyDoesNotChangeWithTheDocumentsItWasMadeFrom(t *testing.T) {
	doc := full()
	p := mustCompile(t, doc)
	doc.Pull.SignedBy.Any[0], doc.Repositories[0], doc.Push.Seal.Signer, doc.Push.Image.NonRoot = "evil", "**", "evil", "allow"
	doc.Pull.AdmitUnverified, doc.Pull.SignedBy = true, nil
	r := p.Rule("prod/app")
	if !r.NeedsEvidence() || !slices.Equal(r.Signers(), []string{"gateway"}) || r.push.Image.NonRoot != "deny" || p.Rule("other") != nil {
		t.Errorf("the rule changed: %+v", r)
	}
	if v := r.Judge(subject, Evidence{Pinned: true, Signatures: []Signature{{Authority: "evil"}}}, now); v.Admitted() {
		t.Error("an authority that was written in later is believed")
	}
}
