package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

var (
	subject = Subject{Repo: "prod/app", Digest: digest.FromString("a manifest")}
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// pullRule is the rule of a policy that demands this of a pull, and nothing else.
func pullRule(t testing.TB, pull PullDocument) *Rule {
	t.Helper()
	return mustCompile(t, Document{Name: "a", Repositories: []string{"**"}, Pull: &pull}).Rule(subject.Repo)
}

func pushRule(t testing.TB, image ImageDocument) *Rule {
	t.Helper()
	return mustCompile(t, Document{
		Name: "a", Repositories: []string{"**"}, Push: &PushDocument{Image: image, AcceptUnsealed: true},
	}).Rule(subject.Repo)
}

// by is evidence of one signature by each, in order.
func by(names ...string) Evidence {
	var ev Evidence
	for i, name := range names {
		ev.Signatures = append(ev.Signatures, Signature{Authority: name, Signed: subject.Digest, Evidence: digest.FromString(fmt.Sprint(i))})
	}
	return ev
}

func codes(reasons []Reason) string {
	var all []string
	for _, reason := range reasons {
		all = append(all, string(reason.Code))
	}
	return strings.Join(all, " ")
}

// consistent checks what holds for every verdict: an admit has no reasons, a denial has some, and each is complete.
func consistent(t *testing.T, v Verdict) {
	t.Helper()
	if v.Admitted() != (len(v.Reasons()) == 0) {
		t.Errorf("admitted is %v with the reasons %+v", v.Admitted(), v.Reasons())
	}
	for _, reason := range slices.Concat(v.Reasons(), v.Warnings()) {
		if reason.Code == "" || reason.Requirement == "" || reason.Subject != subject.Digest.String() || reason.Why == "" || reason.Fix == "" {
			t.Errorf("an incomplete reason: %+v", reason)
		}
		if strings.ContainsAny(reason.Why+reason.Fix, "\r\n") || len(reason.Why) > 200 {
			t.Errorf("a reason that is no line for a person: %q", reason.Why)
		}
	}
}

func TestSignaturesAreCountedByAuthority(t *testing.T) {
	anyOf := SignedBy{Any: []string{"gateway", "ci"}}
	allOf := SignedBy{All: []string{"gateway", "ci"}}
	twoOf := SignedBy{Of: []string{"gateway", "ci", "release"}, AtLeast: 2}
	for _, c := range []struct {
		by    SignedBy
		ev    Evidence
		codes string
		why   string
	}{
		{anyOf, by("gateway"), "", ""},
		{anyOf, by("ci"), "", ""},
		{anyOf, by("release", "ci"), "", ""},
		{anyOf, by(), "UNSIGNED", "no signature by gateway or ci (found none)"},
		{anyOf, by("release"), "UNTRUSTED", "no signature by gateway or ci (found 1 by release)"},
		{anyOf, by("release", "again", "release"), "UNTRUSTED", "no signature by gateway or ci (found 3 by release, again)"},
		{anyOf, by(""), "UNTRUSTED", "no signature by gateway or ci (found 1 by )"},
		{anyOf, by("Gateway", "ci ", "gateway,ci"), "UNTRUSTED", ""},
		{anyOf, Evidence{Rejected: []Rejection{{Why: "a signature by an unknown key"}}}, "UNTRUSTED",
			"no signature by gateway or ci (found 1 that do not count: a signature by an unknown key)"},
		{anyOf, Evidence{Signatures: by("ci").Signatures, Rejected: []Rejection{{Why: "forged"}}}, "", ""},
		{allOf, by("gateway", "ci"), "", ""},
		{allOf, by("ci", "release", "gateway"), "", ""},
		{allOf, by("ci"), "UNTRUSTED", "no signature by gateway (found 1 by ci)"},
		{allOf, by("ci", "ci"), "UNTRUSTED", ""},
		{allOf, by(), "UNSIGNED", "no signature by gateway and ci (found none)"},
		{twoOf, by("gateway", "ci"), "", ""},
		{twoOf, by("release", "ci"), "", ""},
		{twoOf, by("gateway", "ci", "release"), "", ""},
		{twoOf, by("gateway"), "UNTRUSTED", "no signature by ci or release (found 1 by gateway)"},
		{twoOf, by("gateway", "again", "gateway"), "UNTRUSTED", ""},
		{twoOf, by(), "UNSIGNED", ""},
	} {
		v := pullRule(t, PullDocument{SignedBy: &c.by}).Judge(subject, c.ev, now)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.codes {
			t.Errorf("%+v with %+v: got %q, want %q", c.by, c.ev, got, c.codes)
		}
		if c.why != "" && v.Reasons()[0].Why != c.why {
			t.Errorf("got %q, want %q", v.Reasons()[0].Why, c.why)
		}
	}
}

func TestThreat087_OneAuthorityIsOneHoweverOftenItSigned(t *testing.T) {
	r := pullRule(t, PullDocument{SignedBy: &SignedBy{Of: []string{"gateway", "ci"}, AtLeast: 2}})
	for n := range 100 {
		if v := r.Judge(subject, by(slices.Repeat([]string{"ci"}, n)...), now); v.Admitted() {
			t.Errorf("%d signatures by one count as two", n)
		}
	}
}

func TestWhatIsNotWrittenIsDenied(t *testing.T) {
	everything := by("gateway", "ci", "release")
	everything.Pinned = true
	image := spotless()
	pullOnly, pushOnly := full(), full()
	pullOnly.Push, pushOnly.Pull = nil, nil
	for name, c := range map[string]struct {
		v    Verdict
		want string
	}{
		"pull without a rule":             {(*Rule)(nil).Judge(subject, everything, now), "NO_POLICY"},
		"push without a rule":             {(*Rule)(nil).JudgePush(subject, image, now), "NO_POLICY"},
		"pull under a rule of nothing":    {new(Rule).Judge(subject, everything, now), "PULL_CLOSED"},
		"push under a rule of nothing":    {new(Rule).JudgePush(subject, image, now), "PUSH_CLOSED"},
		"pull where there is only push":   {mustCompile(t, pushOnly).Rule("prod/app").Judge(subject, everything, now), "PULL_CLOSED"},
		"push where there is only pull":   {mustCompile(t, pullOnly).Rule("prod/app").JudgePush(subject, image, now), "PUSH_CLOSED"},
		"a pull section of nothing":       {(&Rule{pull: &PullDocument{}}).Judge(subject, everything, now), "PULL_CLOSED"},
		"a push section of nothing":       {(&Rule{push: &PushDocument{}}).JudgePush(subject, image, now), "PUSH_CLOSED"},
		"signatures by an empty form":     {(&Rule{pull: &PullDocument{SignedBy: &SignedBy{}}}).Judge(subject, everything, now), "UNTRUSTED"},
		"signatures by any of nobody":     {(&Rule{pull: &PullDocument{SignedBy: &SignedBy{Any: []string{}}}}).Judge(subject, everything, now), "UNTRUSTED"},
		"signatures by all of nobody":     {(&Rule{pull: &PullDocument{SignedBy: &SignedBy{All: []string{}}}}).Judge(subject, everything, now), "UNTRUSTED"},
		"signatures by at least 0":        {(&Rule{pull: &PullDocument{SignedBy: &SignedBy{Of: []string{"ci"}}}}).Judge(subject, everything, now), "UNTRUSTED"},
		"signatures by at least -1":       {(&Rule{pull: &PullDocument{SignedBy: &SignedBy{Of: []string{"ci"}, AtLeast: -1}}}).Judge(subject, everything, now), "UNTRUSTED"},
		"no evidence, no pin, everything": {mustCompile(t, full()).Rule("prod/app").Judge(subject, Evidence{}, now), "UNSIGNED UNPINNED"},
	} {
		consistent(t, c.v)
		if got := codes(c.v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if new(Verdict).Admitted() {
		t.Error("the zero verdict admits")
	}
	if Refuse(Reason{}).Admitted() {
		t.Error("a refusal admits")
	}
	if v := AdmitEvidence(); !v.Admitted() || v.Reasons() != nil {
		t.Errorf("evidence is refused: %+v", v)
	}
}

func TestOnlyDigestsAreServedWhereTheRuleSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		pull PullDocument
		ev   Evidence
		want string
	}{
		"a digest":                       {PullDocument{DigestOnly: true, AdmitUnverified: true}, Evidence{Pinned: true}, ""},
		"a tag":                          {PullDocument{DigestOnly: true, AdmitUnverified: true}, Evidence{}, "UNPINNED"},
		"a tag where tags are served":    {PullDocument{AdmitUnverified: true}, Evidence{}, ""},
		"a digest that nobody signed":    {PullDocument{DigestOnly: true, SignedBy: &SignedBy{Any: []string{"ci"}}}, Evidence{Pinned: true}, "UNSIGNED"},
		"a tag that somebody signed":     {PullDocument{DigestOnly: true, SignedBy: &SignedBy{Any: []string{"ci"}}}, by("ci"), "UNPINNED"},
		"a tag that nobody signed":       {PullDocument{DigestOnly: true, SignedBy: &SignedBy{Any: []string{"ci"}}}, Evidence{}, "UNSIGNED UNPINNED"},
		"anything where all is admitted": {PullDocument{AdmitUnverified: true}, Evidence{Rejected: []Rejection{{Why: "forged"}}}, ""},
	} {
		v := pullRule(t, c.pull).Judge(subject, c.ev, now)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	fix := pullRule(t, PullDocument{DigestOnly: true, AdmitUnverified: true}).Judge(subject, Evidence{}, now).Reasons()[0].FixFor("r/a:v1", "r/a@sha256:00")
	if fix != "pin it: r/a@sha256:00" {
		t.Errorf("got %q", fix)
	}
}

func TestNonRootIsANumberOtherThanZero(t *testing.T) {
	rule := pushRule(t, ImageDocument{NonRoot: "deny"})
	for user, admitted := range map[string]bool{
		"65532": true, "65532:0": true, "65532:65532": true, "65532:root": true, "1": true, "1000:": true, "01000": true, "2147483647": true, "1000:0:0": true,

		"": false, "0": false, "root": false, "0:0": false, "root:root": false, "00": false, "000000000000000000000000": false, "0:1000": false, "root:1000": false,
		":": false, ":1000": false, ":0": false, "nobody": false, "app": false, "app:1000": false, "1000app": false, "Root": false, "toor": false,
		"2147483648": false, "4294967295": false, "4294967296": false, "4294968296": false, "18446744073709551616": false, "4294967296:1000": false,
		" 0": false, "0 ": false, " 1000": false, "1000 ": false, "\t1000": false, "1000\n": false, "1000\x00": false, "+1000": false, "-1": false, "-0": false,
		"0x0": false, "0x3e8": false, "1e3": false, "1_000": false, "1.0": false, "0b1": false, "0o7": false, "\u0661\u0662": false, "\uff11": false, "$UID": false,
		strings.Repeat("9", 1<<20): false, strings.Repeat("x", 1<<20): false, strings.Repeat("0", 1<<20): false,
	} {
		v := rule.JudgePush(subject, Image{Runnable: true, User: user, Layers: 1}, now)
		consistent(t, v)
		if v.Admitted() != admitted || !admitted && codes(v.Reasons()) != "RUNS_AS_ROOT" {
			t.Errorf("user %.40q: got %v, %q, want %v", user, v.Admitted(), codes(v.Reasons()), admitted)
		}
	}
}

func TestImagesAreCheckedOnTheWayIn(t *testing.T) {
	for name, c := range map[string]struct {
		checks            ImageDocument
		image             Image
		reasons, warnings string
	}{
		"root where it is allowed":      {ImageDocument{}, Image{Runnable: true}, "", ""},
		"root where it is warned about": {ImageDocument{NonRoot: "warn"}, Image{Runnable: true}, "", "RUNS_AS_ROOT"},
		"root where it is denied":       {ImageDocument{NonRoot: "deny"}, Image{Runnable: true}, "RUNS_AS_ROOT", ""},
		"an artifact, which runs as no": {ImageDocument{NonRoot: "deny"}, Image{}, "", ""},
		"as many layers as by default":  {ImageDocument{}, Image{Layers: DefaultMaxLayers}, "", ""},
		"one layer more":                {ImageDocument{}, Image{Layers: DefaultMaxLayers + 1}, "TOO_MANY_LAYERS", ""},
		"as many layers as allowed":     {ImageDocument{MaxLayers: 2}, Image{Layers: 2}, "", ""},
		"one more than allowed":         {ImageDocument{MaxLayers: 2}, Image{Layers: 3}, "TOO_MANY_LAYERS", ""},
		"more than by default, allowed": {ImageDocument{MaxLayers: 500}, Image{Layers: 500}, "", ""},
		"any size by default":           {ImageDocument{}, Image{Bytes: 1 << 62}, "", ""},
		"as many bytes as allowed":      {ImageDocument{MaxBytes: 100}, Image{Bytes: 100}, "", ""},
		"a byte more":                   {ImageDocument{MaxBytes: 100}, Image{Bytes: 101}, "IMAGE_TOO_LARGE", ""},
		"any number of files":           {ImageDocument{}, Image{Runnable: true, Content: &Content{Entries: 1 << 40}}, "", ""},
		"as many files as allowed":      {ImageDocument{MaxFiles: 9}, Image{Runnable: true, Content: &Content{Entries: 9}}, "", ""},
		"a file more":                   {ImageDocument{MaxFiles: 9}, Image{Runnable: true, Content: &Content{Entries: 10}}, "TOO_MANY_FILES", ""},
		"files that nobody counted":     {ImageDocument{MaxFiles: 9}, Image{Runnable: true}, "UNINSPECTABLE", ""},
		"everything at once": {
			ImageDocument{NonRoot: "deny", MaxBytes: 1, MaxLayers: 1}, Image{Runnable: true, User: "root", Bytes: 2, Layers: 2},
			"RUNS_AS_ROOT TOO_MANY_LAYERS IMAGE_TOO_LARGE", "",
		},
		"a warning beside a refusal": {ImageDocument{NonRoot: "warn", MaxBytes: 1}, Image{Runnable: true, Bytes: 2}, "IMAGE_TOO_LARGE", "RUNS_AS_ROOT"},
	} {
		v := pushRule(t, c.checks).JudgePush(subject, c.image, now)
		consistent(t, v)
		if codes(v.Reasons()) != c.reasons || codes(v.Warnings()) != c.warnings {
			t.Errorf("%s: got %q and %q, want %q and %q", name, codes(v.Reasons()), codes(v.Warnings()), c.reasons, c.warnings)
		}
	}
}

// Audit mode does not change a verdict: whoever enforces it looks at the mode.
func TestAuditModeJudgesAlike(t *testing.T) {
	audit := full()
	audit.Mode = "audit"
	if mustCompile(t, audit).Rule("prod/app").Judge(subject, Evidence{}, now).Admitted() {
		t.Error("what is refused under enforce is admitted under audit")
	}
}

// Reasons are recorded and replayed: their keys are a promise.
func TestReasonsAreWrittenAsDocumented(t *testing.T) {
	raw, err := json.Marshal(Reason{Code: Unsigned, Requirement: "r", Subject: "s", Why: "w", Fix: "f"})
	if want := `{"code":"UNSIGNED","requirement":"r","subject":"s","why":"w","fix":"f"}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v, want %s", raw, err, want)
	}
}

// Invariant I10: taking evidence away never turns a refusal into an admit. And an admit has what the rule demands, by a
// count that is written here again.
func FuzzJudge(f *testing.F) {
	f.Add([]byte{0, 1, 2}, uint8(0), uint8(1), true, false, []byte{0, 1}, []byte{0}, []byte{})
	f.Add([]byte{1, 1, 1}, uint8(2), uint8(2), false, true, []byte{0, 1, 2}, []byte{1, 0}, []byte{0, 1, 2})
	f.Add([]byte{}, uint8(1), uint8(0), true, true, []byte{2}, []byte{}, []byte{9})
	f.Add([]byte{3, 4, 0, 0}, uint8(2), uint8(3), true, false, []byte{0, 1, 2}, []byte{0, 0, 1, 1}, []byte{250, 0, 3})
	f.Add([]byte{0, 0, 1}, uint8(3), uint8(0), true, false, []byte{0, 1}, []byte{1, 1, 1}, []byte{1, 40, 200, 3})
	names := []string{"gateway", "ci", "release", "stranger", ""}
	f.Fuzz(func(t *testing.T, signers []byte, form, atLeast uint8, pinned, digestOnly bool, list, keep, ages []byte) {
		var wanted []string
		for _, i := range list {
			if name := names[i%3]; !slices.Contains(wanted, name) {
				wanted = append(wanted, name)
			}
		}
		pull := PullDocument{DigestOnly: digestOnly, SignedBy: &SignedBy{}}
		need := 1
		switch form % 3 {
		case 0:
			pull.SignedBy.Any = wanted
		case 1:
			pull.SignedBy.All, need = wanted, len(wanted)
		case 2:
			pull.SignedBy.Of, pull.SignedBy.AtLeast, need = wanted, int(atLeast%4), int(atLeast%4)
		}
		rule := &Rule{pull: &pull} // some of them would not compile; they must not admit for all that
		var all []string
		for _, i := range signers {
			all = append(all, names[int(i)%len(names)])
		}
		ev := by(all...)
		ev.Pinned = pinned
		if len(ages) > 0 { // signatures of hours that are allowed, of hours that are not, of the future and of no time
			pull.SignedBy.MaxAge, pull.SignedBy.TrustStatementTime = (1+time.Duration(ages[0]))*time.Hour, form&4 != 0
			counted := all[:0:0]
			for i := range ev.Signatures {
				age := time.Duration(int(ages[i%len(ages)])-3) * time.Hour
				sig := &ev.Signatures[i]
				switch i % 3 {
				case 0:
					sig.Time, sig.Claimed = now.Add(-age), now
				case 1:
					sig.Claimed = now.Add(-age)
				}
				if age >= 0 && age <= pull.SignedBy.MaxAge && (i%3 == 0 || i%3 == 1 && pull.SignedBy.TrustStatementTime) {
					counted = append(counted, sig.Authority)
				}
			}
			all = counted
		}

		v := rule.Judge(subject, ev, now)
		consistent(t, v)
		have := 0
		for _, name := range wanted {
			if slices.Contains(all, name) {
				have++
			}
		}
		if want := need >= 1 && have >= need && (pinned || !digestOnly); v.Admitted() != want {
			t.Errorf("%+v with %q, pinned %v: got %v, want %v", pull.SignedBy, all, pinned, v.Admitted(), want)
		}

		less := Evidence{Pinned: pinned && len(keep)%2 == 0}
		for i, sig := range ev.Signatures {
			if i < len(keep) && keep[i]%2 == 1 {
				less.Signatures = append(less.Signatures, sig)
			}
		}
		if !v.Admitted() && rule.Judge(subject, less, now).Admitted() {
			t.Errorf("%+v refuses %+v and admits %+v, which is less", pull, ev, less)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	rule := mustCompile(b, full()).Rule("prod/app")
	admitted, refused := by("release", "ci"), by("release")
	admitted.Pinned = true
	for name, ev := range map[string]Evidence{"admit": admitted, "deny": refused} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if rule.Judge(subject, ev, now).Admitted() != (name == "admit") {
					b.Fatal("the other verdict")
				}
			}
		})
	}
}

func ExampleRule_Judge() {
	p, err := Compile([]Document{{
		Name: "production", Repositories: []string{"prod/**"},
		Pull: &PullDocument{SignedBy: &SignedBy{Any: []string{"gateway", "ci"}}},
	}}, Known{Authorities: map[string]string{"gateway": "9f86d081", "ci": "60303ae2"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s := Subject{Repo: "prod/app", Digest: "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}

	refused := p.Rule(s.Repo).Judge(s, Evidence{}, time.Now())
	fmt.Println(refused.Admitted(), refused.Reasons()[0].Code, refused.Reasons()[0].Why)

	admitted := p.Rule(s.Repo).Judge(s, Evidence{Signatures: []Signature{{Authority: "ci", Signed: s.Digest}}}, time.Now())
	fmt.Println(admitted.Admitted())

	elsewhere := p.Rule("test/app").Judge(s, Evidence{}, time.Now())
	fmt.Println(elsewhere.Admitted(), elsewhere.Reasons()[0].Code)
	// Output:
	// false UNSIGNED no signature by gateway or ci (found none)
	// true
	// false NO_POLICY
}

// Two authorities may accept one signer, such as an exact subject and a pattern: he is one all the same.
func TestThreat087_OneSignerIsOneHoweverManyAuthoritiesAcceptHim(t *testing.T) {
	signature := func(authority, signer string) Signature { return Signature{Authority: authority, Signer: signer} }
	for name, c := range map[string]struct {
		by       SignedBy
		evidence []Signature
		admitted bool
	}{
		"one signer, two authorities, all":     {SignedBy{All: []string{"a", "b"}}, []Signature{signature("a", "x"), signature("b", "x")}, false},
		"two signers, two authorities, all":    {SignedBy{All: []string{"a", "b"}}, []Signature{signature("a", "x"), signature("b", "y")}, true},
		"one signer, two authorities, any":     {SignedBy{Any: []string{"a", "b"}}, []Signature{signature("a", "x"), signature("b", "x")}, true},
		"one signer, two of three":             {SignedBy{Of: []string{"a", "b", "c"}, AtLeast: 2}, []Signature{signature("a", "x"), signature("b", "x"), signature("c", "x")}, false},
		"the wide one takes the other":         {SignedBy{All: []string{"wide", "a"}}, []Signature{signature("wide", "x"), signature("a", "x"), signature("wide", "y")}, true},
		"the wide one gives way, and its next": {SignedBy{All: []string{"wide", "wider", "a"}}, []Signature{signature("wide", "x"), signature("wide", "y"), signature("wider", "y"), signature("wider", "z"), signature("a", "x")}, true},
		"three for two signers":                {SignedBy{All: []string{"wide", "wider", "a"}}, []Signature{signature("wide", "x"), signature("wide", "y"), signature("wider", "y"), signature("wider", "x"), signature("a", "x")}, false},
		"signers without a name":               {SignedBy{All: []string{"a", "b"}}, []Signature{signature("a", ""), signature("b", "")}, true},
	} {
		r := &Rule{pull: &PullDocument{SignedBy: &c.by}}
		v := r.Judge(Subject{Repo: "r", Digest: "sha256:x"}, Evidence{Signatures: c.evidence}, time.Now())
		if v.Admitted() != c.admitted {
			t.Errorf("%s: admitted %v, %v", name, v.Admitted(), v.Reasons())
		}
		if !c.admitted && (v.Reasons()[0].Code != Untrusted || !strings.Contains(v.Reasons()[0].Why, "the same one")) {
			t.Errorf("%s: %v", name, v.Reasons())
		}
	}
}

func TestARefusalAdvisesToPushOnlyWhereThePushWouldHelp(t *testing.T) {
	doc := Document{
		Name: "p", Repositories: []string{"**"},
		Pull: &PullDocument{SignedBy: &SignedBy{Any: []string{"gateway", "release"}}},
		Push: &PushDocument{Seal: &SealDocument{Signer: "gateway"}},
	}
	for name, c := range map[string]struct {
		change func(*Document)
		want   string
	}{
		"the seal is enough":   {func(*Document) {}, "push it through the gateway"},
		"nothing is sealed":    {func(d *Document) { d.Push = &PushDocument{AcceptUnsealed: true} }, "have it signed in the registry behind the gateway: cosign sign …@sha256:1"},
		"nothing is pushed":    {func(d *Document) { d.Push = nil }, "have it signed in the registry behind the gateway: cosign sign …@sha256:1"},
		"somebody else's seal": {func(d *Document) { d.Pull.SignedBy.Any = []string{"release"} }, "have it signed in the registry behind the gateway: cosign sign …@sha256:1"},
		"the seal and others'": {func(d *Document) { d.Pull.SignedBy = &SignedBy{All: d.Pull.SignedBy.Any} }, "push it through the gateway, and have it signed by release"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := doc
			pull, by := *doc.Pull, *doc.Pull.SignedBy
			pull.SignedBy, changed.Pull = &by, &pull
			c.change(&changed)
			p, err := Compile([]Document{changed}, Known{
				Authorities: map[string]string{"gateway": "f1", "release": "f2"}, Signers: map[string]string{"gateway": "f1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			v := p.Rule("a").Judge(Subject{Repo: "a", Digest: "sha256:1"}, Evidence{}, time.Time{})
			if v.Admitted() || v.Reasons()[0].Fix != c.want {
				t.Errorf("got %+v, want the fix %q", v.Reasons(), c.want)
			}
		})
	}

	// What somebody signed may be what we sealed, with a key that counts no more.
	p, err := Compile([]Document{doc}, Known{
		Authorities: map[string]string{"gateway": "f1", "release": "f2"}, Signers: map[string]string{"gateway": "f1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "push it through the gateway again, or seal what is there: sealgate seal a@sha256:1"
	for name, ev := range map[string]Evidence{
		"a signature that does not count": {Rejected: []Rejection{{Code: "KEY_REVOKED", Why: "a signature that was made with a key that is revoked"}}},
		"a signature by somebody else":    {Signatures: []Signature{{Authority: "before"}}},
	} {
		if v := p.Rule("a").Judge(Subject{Repo: "a", Digest: "sha256:1"}, ev, time.Time{}); v.Admitted() || v.Reasons()[0].Fix != want {
			t.Errorf("%s: got %+v", name, v.Reasons())
		}
	}
}

func TestARefusalListsTheCodesOfWhatDoesNotCount(t *testing.T) {
	r := &Rule{pull: &PullDocument{SignedBy: &SignedBy{Any: []string{"ci"}}}}
	var rejected []Rejection
	for _, code := range []string{"NOT_LOGGED", "", "NOT_LOGGED", "IDENTITY_MISMATCH", "1", "2", "3", "4", "5", "6", "7"} {
		rejected = append(rejected, Rejection{Code: code, Why: "x"})
	}
	v := r.Judge(Subject{Repo: "r", Digest: "sha256:x"}, Evidence{Rejected: rejected}, time.Now())
	if got := strings.Join(v.Reasons()[0].Causes, " "); got != "NOT_LOGGED IDENTITY_MISMATCH 1 2 3 4 5 6" {
		t.Errorf("got %q", got)
	}
}
