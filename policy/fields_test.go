package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Every field of every document flips the version, whatever it is: a verdict under the old policy is no verdict under the
// new one.
func TestThreat126_TheVersionChangesWithEveryField(t *testing.T) {
	full := func() Document {
		doc := full()
		doc.Allow = []AllowDocument{{Clients: []string{"ci"}, May: []string{"pull"}}}
		doc.Pull.Remap = []Remap{{From: "ghcr.io/acme/", To: "prod/"}}
		doc.Pull.Attested = []AttestedDocument{{
			Predicate: "vuln", By: &SignedBy{Any: []string{"ci"}}, Deny: "finding.fixed",
			VEX: &VEXDocument{By: []string{"ci"}}, Grace: &GraceDocument{},
		}}
		doc.Allow = []AllowDocument{{Clients: []string{"root"}, May: []string{"pull"}}}
		doc.Push.Scan = &ScanDocument{Scanner: "default", Exceptions: []FindingExceptionDocument{{ID: "CVE-1", Until: "2027-01-31", Reason: "none"}}}
		return doc
	}
	before := mustCompile(t, full()).Version()
	if again := mustCompile(t, full()).Version(); again != before || len(before) != 16 {
		t.Fatalf("two compilations of one document: %q and %q", before, again)
	}
	flips := 0
	eachField(reflect.TypeFor[Document](), nil, func(path []int, name string) {
		doc := full()
		flip(t, reflect.ValueOf(&doc).Elem(), path)
		flips++
		if fingerprint([]Document{doc}, known()) == before {
			t.Errorf("%s does not enter the version", name)
		}
	})
	if flips < 15 {
		t.Errorf("only %d fields were found", flips)
	}
	for what, change := range map[string]func(*Known){
		"a key":                  func(k *Known) { k.Authorities["ci"] = "f9" },
		"a key nobody names":     func(k *Known) { k.Authorities["release"] = "f9" },
		"another authority":      func(k *Known) { k.Authorities["new"] = "f9" },
		"one authority less":     func(k *Known) { delete(k.Authorities, "release") },
		"the signer's key":       func(k *Known) { k.Signers["gateway"] = "f9" },
		"a name for another":     func(k *Known) { k.Authorities["gateway"], k.Authorities["ci"] = "f2", "f1" },
		"the scanner":            func(k *Known) { k.Scanners["default"] = "s9" },
		"an authority as signer": func(k *Known) { k.Signers["ci"] = "f2" },
	} {
		k := known()
		change(&k)
		if fingerprint([]Document{full()}, k) == before {
			t.Errorf("%s does not enter the version", what)
		}
	}
	one, two := named("a", "a"), named("b", "b")
	if fingerprint([]Document{one, two}, known()) == fingerprint([]Document{two, one}, known()) {
		t.Error("the order does not enter the version")
	}
}

// Kyverno CVE-2025-29778: a field of the policy that is silently ignored. Every field changes some verdict, or where it is
// not judged, what the gateway asks a rule.
func TestEveryFieldOfADocumentMatters(t *testing.T) {
	signed := func(names ...string) Evidence {
		ev := Evidence{Pinned: true}
		for _, name := range names {
			ev.Signatures = append(ev.Signatures, Signature{Authority: name})
		}
		return ev
	}
	good := spotless()
	with := func(change func(*Image)) Image {
		image := spotless()
		change(&image)
		return image
	}
	finding := func(check Check) Image {
		return with(func(i *Image) { i.Content.Findings = []ImageFinding{{Check: check, Path: "usr/bin/su"}} })
	}
	anyPrograms := func(d *Document) { d.Push.Image.Minimal = "allow" }
	aShell := finding(CheckMinimal)
	aShell.Content.Findings[0].Kind = Shell
	unmarked := finding(CheckSetuid)
	unmarked.Content.Findings[0].Path = "usr/bin/other"
	covered := map[string]bool{}
	for _, c := range []struct {
		field  string
		before func(*Document) // makes the document one that admits
		after  func(*Document) // and then another
		asked  func(*Policy) any
	}{
		{"Name", nil, func(d *Document) { d.Name = "x" }, func(p *Policy) any { return p.Rule("prod/app").Name() }},
		{"Repositories", nil, func(d *Document) { d.Repositories = []string{"x/**"} }, pulls(signed("ci"))},
		{"Mode", nil, func(d *Document) { d.Mode = "audit" }, func(p *Policy) any { return p.Rule("prod/app").Audit() }},
		{"Allow", nil, func(d *Document) { d.Allow = allowed("alice", "pull") }, mayPull(Client{})},
		{"Allow.Clients", func(d *Document) { d.Allow = allowed("alice", "pull") }, func(d *Document) { d.Allow = allowed("bob", "pull") }, mayPull(Client{Name: "alice"})},
		{"Allow.Groups", func(d *Document) { d.Allow = allowed("alice", "pull") }, func(d *Document) { d.Allow[0].Groups = []string{"dev"} }, mayPull(Client{Name: "bob", Groups: []string{"dev"}})},
		{"Allow.May", func(d *Document) { d.Allow = allowed("alice", "pull") }, func(d *Document) { d.Allow = allowed("alice", "push") }, mayPull(Client{Name: "alice"})},
		{"Pull", nil, func(d *Document) { d.Pull = nil }, pulls(signed("ci"))},
		{"Pull.DigestOnly", func(d *Document) { d.Pull.DigestOnly = false }, func(d *Document) { d.Pull.DigestOnly = true }, pulls(Evidence{Signatures: signed("ci").Signatures})},
		{"Pull.SignedBy", func(d *Document) { *d.Pull = PullDocument{AdmitUnverified: true} }, func(d *Document) { d.Pull = full().Pull }, pulls(signed())},
		{"Pull.AdmitUnverified", func(d *Document) { *d.Pull = PullDocument{AdmitUnverified: true} }, func(d *Document) { d.Pull = full().Pull }, pulls(signed("release"))},
		{"Pull.Blobs", nil, func(d *Document) { d.Pull.Blobs = "referenced" }, func(p *Policy) any { return p.Rule("prod/app").WantsReferencedBlobs() }},
		{"Pull.SignedBy.Any", nil, func(d *Document) { d.Pull.SignedBy.Any = []string{"gateway"} }, pulls(signed("ci"))},
		{"Pull.SignedBy.All", func(d *Document) { *d.Pull.SignedBy = SignedBy{All: []string{"ci"}} }, func(d *Document) { d.Pull.SignedBy.All = []string{"ci", "gateway"} }, pulls(signed("ci"))},
		{"Pull.SignedBy.Of", func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci"}, AtLeast: 1} }, func(d *Document) { d.Pull.SignedBy.Of = []string{"gateway"} }, pulls(signed("ci"))},
		{"Pull.SignedBy.AtLeast", func(d *Document) { *d.Pull.SignedBy = SignedBy{Of: []string{"ci", "gateway"}, AtLeast: 1} }, func(d *Document) { d.Pull.SignedBy.AtLeast = 2 }, pulls(signed("ci"))},
		{"Pull.SignedBy.MaxAge", nil, func(d *Document) { d.Pull.SignedBy.MaxAge = time.Hour }, pulls(signed("ci"))},
		{"Pull.SignedBy.TrustStatementTime", func(d *Document) { d.Pull.SignedBy.MaxAge = time.Hour }, func(d *Document) { d.Pull.SignedBy.TrustStatementTime = true }, pulls(Evidence{Pinned: true, Signatures: claimedAt(now).Signatures})},
		{"Pull.Remap", remap("ghcr.io/acme/", "prod/"), func(d *Document) { d.Pull.Remap = nil }, remaps},
		{"Pull.Remap.From", remap("ghcr.io/acme/", "prod/"), func(d *Document) { d.Pull.Remap[0].From = "ghcr.io/other/" }, remaps},
		{"Pull.Remap.To", remap("ghcr.io/acme/", "prod/"), func(d *Document) { d.Pull.Remap[0].To = "other/" }, remaps},
		{"Push", nil, func(d *Document) { d.Push = nil }, pushes(good)},
		{"Push.Image", nil, func(d *Document) { d.Push.Image = ImageDocument{} }, pushes(Image{Runnable: true})},
		{"Push.Image.NonRoot", nil, func(d *Document) { d.Push.Image.NonRoot = "allow" }, pushes(with(func(i *Image) { i.User = "0:1" }))},
		{"Push.Image.RootGroup", nil, func(d *Document) { d.Push.Image.RootGroup = "allow" }, pushes(with(func(i *Image) { i.User = "1:0" }))},
		{"Push.Image.Secrets", nil, func(d *Document) { d.Push.Image.Secrets = "allow" }, pushes(finding(CheckSecrets))},
		{"Push.Image.Setuid", nil, func(d *Document) { d.Push.Image.Setuid = "allow" }, pushes(unmarked)},
		{"Push.Image.Capabilities", nil, func(d *Document) { d.Push.Image.Capabilities = "allow" }, pushes(finding(CheckCapabilities))},
		{"Push.Image.Devices", nil, func(d *Document) { d.Push.Image.Devices = "allow" }, pushes(finding(CheckDevices))},
		{"Push.Image.Paths", nil, func(d *Document) { d.Push.Image.Paths = "allow" }, pushes(finding(CheckPaths))},
		{"Push.Image.WorldWritable", nil, func(d *Document) { d.Push.Image.WorldWritable = "allow" }, pushes(finding(CheckWorldWritable))},
		{"Push.Image.Minimal", nil, func(d *Document) { d.Push.Image.Minimal = "allow" }, pushes(aShell)},
		{"Push.Image.Caches", nil, func(d *Document) { d.Push.Image.Caches = "allow" }, pushes(finding(CheckCaches))},
		{"Push.Image.EndOfLife", nil, func(d *Document) { d.Push.Image.EndOfLife = "allow" }, pushes(with(func(i *Image) { i.Content.System.Version = "10" }))},
		{"Push.Image.Ports", nil, func(d *Document) { d.Push.Image.Ports = "allow" }, pushes(with(func(i *Image) { i.Config.Findings = []ImageFinding{{Check: CheckPorts, Path: "x"}} }))},
		{"Push.Image.Volumes", nil, func(d *Document) { d.Push.Image.Volumes = "allow" }, pushes(with(func(i *Image) { i.Config.Findings = []ImageFinding{{Check: CheckVolumes, Path: "x"}} }))},
		{"Push.Image.Future", nil, func(d *Document) { d.Push.Image.Future = "allow" }, pushes(with(func(i *Image) { i.Config.Created = now.AddDate(0, 1, 0) }))},
		{"Push.Image.Platform", nil, func(d *Document) { d.Push.Image.Platform = "allow" }, pushes(with(func(i *Image) { i.Config.Architecture = "arm64" }))},
		{"Push.Image.History", nil, func(d *Document) { d.Push.Image.History = "allow" }, pushes(with(func(i *Image) { i.Config.HistoryLayers = 7 }))},
		{"Push.Image.Labels", nil, func(d *Document) { d.Push.Image.Labels = nil }, pushes(with(func(i *Image) { i.Config.Labels = nil }))},
		{"Push.Image.Labels.Required", nil, func(d *Document) { d.Push.Image.Labels.Required = []string{"team", "source"} }, pushes(good)},
		{"Push.Image.Labels.OnMiss", nil, func(d *Document) { d.Push.Image.Labels.OnMiss = "warn" }, pushes(with(func(i *Image) { i.Config.Labels = nil }))},
		{"Push.Image.Base", nil, func(d *Document) { d.Push.Image.Base, d.Push.Image.BaseClaim = nil, "" }, pushes(with(func(i *Image) { i.Content.DiffIDs = nil }))},
		{"Push.Image.Base.Approved", nil, func(d *Document) { d.Push.Image.Base.Approved, d.Push.Image.BaseClaim = "", "" }, pushes(good)},
		{"Push.Image.Base.MaxAge", nil, func(d *Document) { d.Push.Image.Base.MaxAge = 48 * time.Hour }, pushes(good)},
		{"Push.Image.BaseClaim", nil, func(d *Document) { d.Push.Image.BaseClaim = "warn" }, pushes(with(func(i *Image) {
			i.BaseClaim.Digest = debianImage.String()
			*i.Content = Content{DiffIDs: i.Content.DiffIDs[1:]}
		}))},
		{"Push.Image.Age", nil, func(d *Document) { d.Push.Image.Age = nil }, pushes(with(func(i *Image) { i.Config.Created = now.AddDate(-1, 0, 0) }))},
		{"Push.Image.Age.Max", nil, func(d *Document) { d.Push.Image.Age.Max = 24 * time.Hour }, pushes(good)},
		{"Push.Image.Age.OnMiss", nil, func(d *Document) { d.Push.Image.Age.OnMiss = "warn" }, pushes(with(func(i *Image) { i.Config.Created = now.AddDate(-1, 0, 0) }))},
		{"Push.Image.Base.Scratch", nil, func(d *Document) { d.Push.Image.Base.Scratch = false }, pushes(with(func(i *Image) { *i.Content = Content{} }))},
		{"Push.Image.Base.OnMiss", nil, func(d *Document) { d.Push.Image.Base.OnMiss = "warn" }, pushes(with(func(i *Image) { i.Content.DiffIDs = nil }))},
		{"Push.Image.Exceptions", nil, func(d *Document) { d.Push.Image.Exceptions = nil }, pushes(finding(CheckSetuid))},
		{"Push.Image.Exceptions.Check", nil, func(d *Document) { d.Push.Image.Exceptions[0].Check = "devices" }, pushes(finding(CheckSetuid))},
		{"Push.Image.Exceptions.Path", nil, func(d *Document) { d.Push.Image.Exceptions[0].Path = "usr/bin/sudo" }, pushes(finding(CheckSetuid))},
		{"Push.Image.Exceptions.Until", nil, func(d *Document) { d.Push.Image.Exceptions[0].Until = "2026-11-23" }, pushes(finding(CheckSetuid))},
		{"Push.Image.Exceptions.Reason", nil, func(d *Document) { d.Push.Image.Exceptions[0].Reason = "another" }, func(p *Policy) any { return p.Version() }}, // for reviewers
		{"Push.Image.MaxBytes", nil, func(d *Document) { d.Push.Image.MaxBytes = 99 }, pushes(good)},
		{"Push.Image.Profile", anyPrograms, func(d *Document) { d.Push.Image.Profile = nil }, pushes(finding(CheckMinimal))},
		{"Push.Image.Profile.Any", nil, func(d *Document) { d.Push.Image.Profile.Any = []string{"alpine"} }, pushes(good)},
		{"Push.Image.Profile.OnMiss", anyPrograms, func(d *Document) { d.Push.Image.Profile.OnMiss = "warn" }, pushes(finding(CheckMinimal))},
		{"Push.Image.MaxFiles", nil, func(d *Document) { d.Push.Image.MaxFiles = 6 }, pushes(good)},
		{"Push.Image.MaxLayers", nil, func(d *Document) { d.Push.Image.MaxLayers = 1 }, pushes(good)},
		{"Push.Seal", nil, func(d *Document) { *d.Push = PushDocument{AcceptUnsealed: true} }, func(p *Policy) any { return fmt.Sprint(p.Rule("prod/app").Signers()) }},
		{"Push.Seal.Signer", nil, func(d *Document) { d.Push.Seal.Signer = "spare" }, func(p *Policy) any { return fmt.Sprint(p.Rule("prod/app").Signers()) }},
		{"Push.Seal.Signers", func(d *Document) { d.Push.Seal.Signer, d.Push.Seal.Signers = "", []string{"gateway", "spare"} },
			func(d *Document) { d.Push.Seal.Signers = []string{"spare"} }, func(p *Policy) any { return fmt.Sprint(p.Rule("prod/app").Signers()) }},
		{"Push.Seal.Scan", scans, func(d *Document) { d.Push.Seal.Scan = true }, func(p *Policy) any { return p.Rule("prod/app").Attests(ScanByCosign) }},
		{"Push.Seal.SBOM", scans, func(d *Document) { d.Push.Seal.SBOM = true }, func(p *Policy) any { return p.Rule("prod/app").Attests("https://cyclonedx.org/bom") }},
		{"Push.Seal.Summary", nil, func(d *Document) { d.Push.Seal.Summary = false }, func(p *Policy) any { return p.Rule("prod/app").Summarizes() }},
		{"Push.ImmutableTags", nil, func(d *Document) { d.Push.ImmutableTags = []string{"v*"} }, func(p *Policy) any { return p.Rule("prod/app").IsImmutable("v1") }},
		{"Push.AcceptUnsealed", nil, func(d *Document) { *d.Push = PushDocument{AcceptUnsealed: true} }, func(p *Policy) any { return fmt.Sprint(p.Rule("prod/app").Signers()) }},
	} {
		doc := full()
		if c.before != nil {
			c.before(&doc)
		}
		before := c.asked(mustCompile(t, doc))
		c.after(&doc)
		if after := c.asked(mustCompile(t, doc)); before == after {
			t.Errorf("%s changes nothing: %v", c.field, after)
		}
		covered[c.field] = true
	}
	eachField(reflect.TypeFor[Document](), nil, func(_ []int, name string) {
		if !covered[name] && !strings.HasPrefix(name, "Pull.Attested") && !strings.HasPrefix(name, "Push.Scan") { // see TestEveryFieldOfAnAttestationMatters, ...OfAScanMatters
			t.Errorf("no case shows what %s does", name)
		}
	})
}

func remap(from, to string) func(*Document) {
	return func(d *Document) { d.Pull.Remap = []Remap{{From: from, To: to}} }
}

func remaps(p *Policy) any { return p.Rule("prod/app").Remaps("prod/app", "ghcr.io/acme/app") }

func scans(d *Document) { d.Push.Scan = &ScanDocument{Scanner: "default"} }

func allowed(client, right string) []AllowDocument {
	return []AllowDocument{{Clients: []string{client}, May: []string{right}}}
}

func mayPull(c Client) func(*Policy) any {
	return func(p *Policy) any { return p.Rule("prod/app").Authorize(subject, c, Pull).Admitted() }
}

func pulls(ev Evidence) func(*Policy) any {
	return func(p *Policy) any { return p.Rule("prod/app").Judge(subject, ev, now).Admitted() }
}

func pushes(image Image) func(*Policy) any {
	return func(p *Policy) any { return p.Rule("prod/app").JudgePush(subject, image, now).Admitted() }
}

// eachField visits every field of a struct and of the structs in it, with its index path and its name such as Pull.DigestOnly.
func eachField(t reflect.Type, path []int, visit func(path []int, name string)) {
	eachNamed(t, path, "", visit)
}

func eachNamed(t reflect.Type, path []int, prefix string, visit func(path []int, name string)) {
	for i := range t.NumField() {
		field := t.Field(i)
		here, name := append(append([]int(nil), path...), i), prefix+field.Name
		visit(here, name)
		inner := field.Type
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			eachNamed(inner, here, name+".", visit)
		}
	}
}

// flip changes the one field that a path names.
func flip(t *testing.T, v reflect.Value, path []int) {
	for _, i := range path {
		switch v.Kind() {
		case reflect.Pointer:
			v = v.Elem()
		case reflect.Slice:
			v = v.Index(0)
		}
		v = v.Field(i)
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct {
		v.SetZero()
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		one := reflect.New(v.Type().Elem()).Elem()
		if one.Kind() == reflect.String {
			one.SetString("x")
		}
		v.Set(reflect.Append(v, one))
	case reflect.Pointer, reflect.Struct:
		v.SetZero()
	default:
		t.Fatalf("flip cannot change a %s; teach it", v.Kind())
	}
}
