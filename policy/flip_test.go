package policy

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// decisive says what one field of a policy decides: with it as it is something is admitted, and with another value, which does
// not match, the same is denied.
type decisive struct {
	doc    Document        // admits
	change func(*Document) // of the field alone
	code   Code            // why it is denied then
	judge  func(*Rule) Verdict
	never  string // instead of all that: why the field cannot turn an admit into a deny
}

// Each field of the policy document has a flip, or the reason why it cannot have one. A new field needs a line here: write the
// smallest policy that admits something because of it, and change it to a value under which the same is denied.
func TestEachFieldOfAPolicyDecides(t *testing.T) {
	flips := allFlips()
	walked := map[string]bool{}
	var walk func(typ reflect.Type, prefix string)
	walk = func(typ reflect.Type, prefix string) {
		for field := range typ.Fields() {
			path := prefix + field.Tag.Get("mapstructure")
			inner := field.Type
			if inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct {
				path += "[]"
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				walk(inner, path+".")
				continue
			}
			walked[path] = true
			f, ok := flips[path]
			switch {
			case !ok:
				t.Errorf("%s has no flip: write in allFlips which admit it turns into a deny", path)
			case f.never == "":
				f.try(t, path)
			}
		}
	}
	walk(reflect.TypeFor[Document](), "")
	for path := range flips {
		if !walked[path] {
			t.Errorf("%s is no field of a policy any more", path)
		}
	}
}

func (f decisive) try(t *testing.T, path string) {
	t.Helper()
	rule := func(doc Document) *Rule {
		p, err := Compile([]Document{doc}, known())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		return p.Rule(subject.Repo)
	}
	if v := f.judge(rule(f.doc)); !v.Admitted() {
		t.Errorf("%s: denied before it was changed: %+v", path, v.Reasons())
	}
	f.change(&f.doc)
	v := f.judge(rule(f.doc))
	if v.Admitted() || len(v.Reasons()) == 0 || v.Reasons()[0].Code != f.code {
		t.Errorf("%s: admitted %v with %+v, want %s", path, v.Admitted(), v.Reasons(), f.code)
	}
}

func allFlips() map[string]decisive {
	pulled := func(ev Evidence) func(*Rule) Verdict {
		return func(r *Rule) Verdict { return r.Judge(subject, ev, now) }
	}
	pushed := func(change func(*Image)) func(*Rule) Verdict {
		image := spotless()
		if change != nil {
			change(&image)
		}
		return func(r *Rule) Verdict { return r.JudgePush(subject, image, now) }
	}
	document := func(pull *PullDocument, push *PushDocument) Document {
		return Document{Name: "a", Repositories: []string{"**"}, Pull: pull, Push: push}
	}

	// signed flips a field of signed_by, over the signatures of gateway and ci.
	signed := func(by SignedBy, change func(*SignedBy)) decisive {
		return decisive{
			doc: document(&PullDocument{SignedBy: &by}, nil), judge: pulled(twoSignatures()),
			change: func(d *Document) { change(d.Pull.SignedBy) }, code: Untrusted,
		}
	}
	// attested flips a field of a demand for an attestation.
	attested := func(q AttestedDocument, ev Evidence, code Code, change func(*AttestedDocument)) decisive {
		return decisive{
			doc: document(&PullDocument{Attested: []AttestedDocument{q}}, nil), judge: pulled(ev),
			change: func(d *Document) { change(&d.Pull.Attested[0]) }, code: code,
		}
	}
	ci := SignedBy{Any: []string{"ci"}}
	scan := Evidence{Attestations: []Attestation{aScan("ci")}}
	provenance := Evidence{Attestations: []Attestation{aProvenance("ci")}}
	both := Evidence{Attestations: []Attestation{aScan("ci"), aScan("gateway")}}
	attestedBy := func(by SignedBy, change func(*SignedBy)) decisive {
		return attested(AttestedDocument{Predicate: "vuln", By: &by}, both, NotAttested, func(q *AttestedDocument) { change(q.By) })
	}
	built := func(set func(*AttestedDocument, []string), right, wrong string) decisive {
		q := demand("slsa-provenance", ci, func(q *AttestedDocument) { set(q, []string{right}) })
		return attested(q, provenance, ProvenanceMismatch, func(q *AttestedDocument) { set(q, []string{wrong}) })
	}
	untimed := Evidence{Attestations: []Attestation{changed(aScan("ci"), func(a *Attestation) { a.Vouched = time.Time{} })}}
	uncounted := Evidence{Attestations: []Attestation{changed(aScan("ci"), func(a *Attestation) {
		a.Facts.Scan.Findings, a.Facts.Scan.Counted = nil, false
	})}}
	ofIndex := aScan("ci")
	ofIndex.Signed = debian

	foundFinding := found // below, found is about images
	// found flips an action of a check, over an image in which it finds something.
	found := func(check Check, code Code, set func(*ImageDocument, string), change func(*Image)) decisive {
		if change == nil {
			change = func(i *Image) {
				i.Content.Findings = append(i.Content.Findings, ImageFinding{Check: check, Path: "a", Layer: debian})
			}
		}
		doc := document(nil, &PushDocument{AcceptUnsealed: true})
		return decisive{doc: doc, judge: pushed(change), code: code, change: func(d *Document) { set(&d.Push.Image, "deny") }}
	}
	configured := func(check Check) func(*Image) {
		return func(i *Image) {
			i.Config.Findings = append(i.Config.Findings, ImageFinding{Check: check, Path: "config"})
		}
	}
	image := func(image ImageDocument, code Code, find func(*Image), change func(*ImageDocument)) decisive {
		return decisive{
			doc: document(nil, &PushDocument{AcceptUnsealed: true, Image: image}), judge: pushed(find), code: code,
			change: func(d *Document) { change(&d.Push.Image) },
		}
	}
	setuid := func(i *Image) {
		i.Content.Findings = append(i.Content.Findings, ImageFinding{Check: CheckSetuid, Path: "usr/bin/su", Layer: debian})
	}
	excepted := func(change func(*ExceptionDocument)) decisive {
		doc := ImageDocument{Setuid: "deny", WorldWritable: "deny", Exceptions: []ExceptionDocument{{Check: "setuid", Path: "usr/bin/su", Until: "2027-01-31", Reason: "for a while"}}}
		return image(doc, Setuid, setuid, func(d *ImageDocument) { change(&d.Exceptions[0]) })
	}
	anotherBase := func(i *Image) { i.Content.DiffIDs = i.Content.DiffIDs[1:] }

	// allowed flips a field of a right, of somebody who has it.
	allowed := func(a AllowDocument, c Client, change func(*AllowDocument)) decisive {
		doc := document(&PullDocument{AdmitUnverified: true}, nil)
		doc.Allow = []AllowDocument{a}
		return decisive{
			doc: doc, code: Forbidden, change: func(d *Document) { change(&d.Allow[0]) },
			judge: func(r *Rule) Verdict { return r.Authorize(subject, c, Pull) },
		}
	}
	alice := Client{Name: "alice", Groups: []string{"dev"}}

	// Findings of VEX and grace are aged so that each field decides alone.
	critical := changed(aScan("ci"), func(a *Attestation) {
		f := &a.Facts.Scan.Findings[0]
		f.Severity, f.PURL, f.Published = Critical, "pkg:deb/debian/zlib@1", now.Add(-24*time.Hour)
	})
	exploited := changed(critical, func(a *Attestation) { a.Facts.Scan.Findings[0].KnownExploited = true })
	graced := func(grace GraceDocument, a Attestation, change func(*GraceDocument)) decisive {
		q := AttestedDocument{Predicate: "vuln", By: &ci, Deny: "finding.severity >= CRITICAL", Grace: &grace}
		return attested(q, Evidence{Attestations: []Attestation{a}}, ForbiddenFinding, func(q *AttestedDocument) { change(q.Grace) })
	}
	harmless := func(vouched time.Time) Evidence {
		vex := Attestation{
			PredicateType: PredicateTypes("openvex")[0], Authority: "release", Signed: subject.Digest, Evidence: debian, Vouched: vouched,
			Facts: Facts{Claimed: now.Add(-24 * time.Hour), VEX: &VEX{Author: "release", Statements: []VEXStatement{{
				Vulnerability: "CVE-1", Status: "not_affected", Justification: "vulnerable_code_not_present", Time: now.Add(-24 * time.Hour),
				Products: []VEXProduct{{ID: "pkg:deb/debian/zlib@1"}},
			}}}},
		}
		return Evidence{Attestations: []Attestation{critical, vex}}
	}
	excused := func(vex VEXDocument, ev Evidence, change func(*VEXDocument)) decisive {
		q := AttestedDocument{Predicate: "vuln", By: &ci, Deny: "finding.severity >= CRITICAL", VEX: &vex}
		return attested(q, ev, ForbiddenFinding, func(q *AttestedDocument) { change(q.VEX) })
	}
	vexByRelease := VEXDocument{By: []string{"release"}}

	// searched flips a field of push.scan, over an image in which the scanner "default" found this.
	searched := func(doc ScanDocument, code Code, image Image, change func(*ScanDocument)) decisive {
		return decisive{
			doc: document(nil, &PushDocument{AcceptUnsealed: true, Scan: &doc}), judge: func(r *Rule) Verdict { return r.JudgePush(subject, image, now) },
			code: code, change: func(d *Document) { change(d.Push.Scan) },
		}
	}
	scanner := func(change func(*ScanDocument)) ScanDocument {
		doc := ScanDocument{Scanner: "default"}
		change(&doc)
		return doc
	}
	listed := func(f Finding) Finding { f.KnownExploited = true; return f }
	undated, empty := scanned(), scanned()
	undated.Scans["default"] = Scan{Scanner: "grype", Finished: now, Packages: 40, Counted: true}
	empty.Scans["default"] = Scan{Scanner: "grype", Finished: now, Database: now, Counted: true}
	carried := func(e FindingExceptionDocument, change func(*FindingExceptionDocument)) decisive {
		e.Until, e.Reason = "2027-01-31", "for a while"
		return searched(scanner(func(d *ScanDocument) { d.Exceptions = []FindingExceptionDocument{e} }), ForbiddenFinding,
			scanned(foundFinding(Critical, FixNone)), func(d *ScanDocument) { change(&d.Exceptions[0]) })
	}

	return map[string]decisive{
		"name": {never: "a name is what refused people read"},
		"mode": {never: "audit judges like enforce; the gateway serves what it denies, see gateway's tests"},
		"repositories": {
			doc: document(&PullDocument{AdmitUnverified: true}, nil), judge: pulled(Evidence{}), code: NoPolicy,
			change: func(d *Document) { d.Repositories = []string{"other/**"} },
		},
		"allow[].clients": allowed(AllowDocument{Clients: []string{"alice"}, May: []string{"pull"}}, alice, func(a *AllowDocument) { a.Clients[0] = "bob" }),
		"allow[].groups": {
			doc: func() Document {
				d := document(&PullDocument{AdmitUnverified: true}, nil)
				d.Allow = []AllowDocument{{Groups: []string{"dev"}, Clients: []string{"bob"}, May: []string{"pull"}}}
				return d
			}(),
			change: func(d *Document) { d.Allow[0].Groups = nil }, code: Forbidden,
			judge: func(r *Rule) Verdict { return r.Authorize(subject, alice, Pull) },
		},
		"allow[].may": allowed(AllowDocument{Clients: []string{"alice"}, May: []string{"pull"}}, alice, func(a *AllowDocument) { a.May[0] = "push" }),

		"pull.remap[].from": {never: "is asked before a signature is evidence: see TestThreat044_ASignatureCountsElsewhereOnlyWhereARemapSaysSo"},
		"pull.remap[].to":   {never: "is asked before a signature is evidence: see TestThreat044_ASignatureCountsElsewhereOnlyWhereARemapSaysSo"},
		"pull.digest_only": {
			doc: document(&PullDocument{AdmitUnverified: true}, nil), judge: pulled(Evidence{}), code: Unpinned,
			change: func(d *Document) { d.Pull.DigestOnly = true },
		},
		"pull.signed_by.any":      signed(SignedBy{Any: []string{"ci"}}, func(by *SignedBy) { by.Any[0] = "release" }),
		"pull.signed_by.all":      signed(SignedBy{All: []string{"ci", "gateway"}}, func(by *SignedBy) { by.All[1] = "release" }),
		"pull.signed_by.of":       signed(SignedBy{Of: []string{"ci", "gateway"}, AtLeast: 2}, func(by *SignedBy) { by.Of[1] = "release" }),
		"pull.signed_by.at_least": signed(SignedBy{Of: []string{"ci", "gateway", "release"}, AtLeast: 2}, func(by *SignedBy) { by.AtLeast = 3 }),
		"pull.signed_by.max_age": {
			doc: document(&PullDocument{SignedBy: &SignedBy{Any: []string{"ci"}, MaxAge: 3 * time.Hour}}, nil), code: Stale,
			judge: pulled(signedAt(now.Add(-2 * time.Hour))), change: func(d *Document) { d.Pull.SignedBy.MaxAge = time.Hour },
		},
		"pull.signed_by.trust_statement_time": {
			doc:  document(&PullDocument{SignedBy: &SignedBy{Any: []string{"ci"}, MaxAge: 3 * time.Hour, TrustStatementTime: true}}, nil),
			code: Untimed, judge: pulled(claimedAt(now.Add(-2 * time.Hour))), change: func(d *Document) { d.Pull.SignedBy.TrustStatementTime = false },
		},
		"pull.blobs": {never: "it is about blobs, which the gateway holds against manifests; it is tested there"},
		"pull.admit_unverified": {
			doc: document(&PullDocument{AdmitUnverified: true}, nil), judge: pulled(Evidence{}), code: Unsigned,
			change: func(d *Document) { d.Pull.AdmitUnverified, d.Pull.SignedBy = false, &ci }, // it stands alone
		},

		"pull.attested[].predicate":               attested(demand("vuln", ci), scan, NotAttested, func(q *AttestedDocument) { q.Predicate = "spdx" }),
		"pull.attested[].by.any":                  attestedBy(SignedBy{Any: []string{"ci"}}, func(by *SignedBy) { by.Any[0] = "release" }),
		"pull.attested[].by.all":                  attestedBy(SignedBy{All: []string{"ci", "gateway"}}, func(by *SignedBy) { by.All[1] = "release" }),
		"pull.attested[].by.of":                   attestedBy(SignedBy{Of: []string{"ci", "gateway"}, AtLeast: 2}, func(by *SignedBy) { by.Of[1] = "release" }),
		"pull.attested[].by.at_least":             attestedBy(SignedBy{Of: []string{"ci", "gateway", "release"}, AtLeast: 2}, func(by *SignedBy) { by.AtLeast = 3 }),
		"pull.attested[].by.max_age":              {never: "stands beside by; in it, it does not compile"},
		"pull.attested[].by.trust_statement_time": {never: "stands beside by; in it, it does not compile"},
		"pull.attested[].max_age": attested(AttestedDocument{Predicate: "vuln", By: &ci, MaxAge: 3 * time.Hour}, scan, Stale,
			func(q *AttestedDocument) { q.MaxAge = time.Minute }),
		"pull.attested[].max_database_age": attested(AttestedDocument{Predicate: "vuln", By: &ci, MaxDatabaseAge: 48 * time.Hour}, scan, StaleDatabase,
			func(q *AttestedDocument) { q.MaxDatabaseAge = time.Hour }),
		"pull.attested[].trust_statement_time": attested(AttestedDocument{Predicate: "vuln", By: &ci, MaxAge: 3 * time.Hour, TrustStatementTime: true}, untimed, Untimed,
			func(q *AttestedDocument) { q.TrustStatementTime = false }),
		"pull.attested[].admit_uncounted": attested(AttestedDocument{Predicate: "vuln", By: &ci, AdmitUncounted: true}, uncounted, IncompleteScan,
			func(q *AttestedDocument) { q.AdmitUncounted = false }),
		"pull.attested[].deny": attested(AttestedDocument{Predicate: "vuln", By: &ci, Deny: "finding.severity >= HIGH"}, scan, ForbiddenFinding,
			func(q *AttestedDocument) { q.Deny = "finding.severity >= MEDIUM" }),
		"pull.attested[].where": attested(AttestedDocument{Predicate: "vuln", By: &ci, Where: "scan.packages == 3"}, scan, ForbiddenContent,
			func(q *AttestedDocument) { q.Where = "scan.packages == 4" }),
		"pull.attested[].builder":           built(func(q *AttestedDocument, v []string) { q.Builder = v }, "https://github.com/acme/ci", "https://github.com/acme/c"),
		"pull.attested[].source_repository": built(func(q *AttestedDocument, v []string) { q.SourceRepository = v }, "https://github.com/acme/app", "https://github.com/acme/ap"),
		"pull.attested[].ref":               built(func(q *AttestedDocument, v []string) { q.Ref = v }, "refs/heads/main", "refs/heads/mai"),
		"pull.attested[].workflow":          built(func(q *AttestedDocument, v []string) { q.Workflow = v }, ".github/workflows/release.yml", ".github/workflows/other.yml"),
		"pull.attested[].trigger":           built(func(q *AttestedDocument, v []string) { q.Trigger = v }, "push", "pull_request"),
		"pull.attested[].per_platform": {
			doc: document(&PullDocument{SignedBy: &SignedBy{Any: []string{"ci"}}, Attested: []AttestedDocument{demand("vuln", ci)}}, nil), code: NotAttested,
			judge:  pulled(Evidence{Signatures: by("ci").Signatures, Attestations: []Attestation{ofIndex}}),
			change: func(d *Document) { d.Pull.Attested[0].PerPlatform = true },
		},
		"pull.attested[].vex.by": excused(vexByRelease, harmless(now.Add(-24*time.Hour)), func(v *VEXDocument) { v.By = []string{"gateway"} }),
		"pull.attested[].vex.max_age": excused(vexByRelease, harmless(now.Add(-24*time.Hour)),
			func(v *VEXDocument) { v.MaxAge = time.Hour }),
		"pull.attested[].vex.trust_statement_time": excused(VEXDocument{By: []string{"release"}, TrustStatementTime: true}, harmless(time.Time{}),
			func(v *VEXDocument) { v.TrustStatementTime = false }),
		"pull.attested[].grace.new_findings":    graced(GraceDocument{NewFindings: 48 * time.Hour}, critical, func(g *GraceDocument) { g.NewFindings = time.Hour }),
		"pull.attested[].grace.known_exploited": graced(GraceDocument{NewFindings: 48 * time.Hour, KnownExploited: 48 * time.Hour}, exploited, func(g *GraceDocument) { g.KnownExploited = time.Hour }),

		"push.scan.scanner": searched(ScanDocument{Scanner: "default"}, NotScanned, scanned(), func(d *ScanDocument) { d.Scanner = "second" }),
		"push.scan.scanners": searched(ScanDocument{Scanners: []string{"default"}}, NotScanned, scanned(),
			func(d *ScanDocument) { d.Scanners = []string{"default", "second"} }),
		"push.scan.fixable": searched(ScanDocument{Scanner: "default"}, ForbiddenFinding, scanned(foundFinding(Medium, FixAvailable)),
			func(d *ScanDocument) { d.Fixable = "medium" }),
		"push.scan.unfixable": searched(ScanDocument{Scanner: "default"}, ForbiddenFinding, scanned(foundFinding(High, FixNone)),
			func(d *ScanDocument) { d.Unfixable = "high" }),
		"push.scan.known_exploited": searched(scanner(func(d *ScanDocument) { d.KnownExploited = "allow" }), ForbiddenFinding,
			scanned(listed(foundFinding(Low, FixNone))), func(d *ScanDocument) { d.KnownExploited = "deny" }),
		"push.scan.deny": searched(scanner(func(d *ScanDocument) { d.Deny = "finding.severity >= HIGH" }), ForbiddenFinding,
			scanned(foundFinding(Medium, FixNone)), func(d *ScanDocument) { d.Deny = "finding.severity >= MEDIUM" }),
		"push.scan.warn": {never: "warns, whatever it says"},
		"push.scan.deny_packages": searched(scanner(func(d *ScanDocument) { d.DenyPackages = `pkg.name == "zlib"` }), ForbiddenPackage,
			listing(Package{Name: "openssl"}), func(d *ScanDocument) { d.DenyPackages = `pkg.name == "openssl"` }),
		"push.scan.max_database_age": searched(ScanDocument{Scanner: "default"}, StaleDatabase, scanned(),
			func(d *ScanDocument) { d.MaxDatabaseAge = time.Minute }),
		"push.scan.admit_undated_database": searched(scanner(func(d *ScanDocument) { d.AdmitUndatedDatabase = true }), StaleDatabase, undated,
			func(d *ScanDocument) { d.AdmitUndatedDatabase = false }),
		"push.scan.on_incomplete": searched(scanner(func(d *ScanDocument) { d.OnIncomplete = "warn" }), IncompleteScan, empty,
			func(d *ScanDocument) { d.OnIncomplete = "deny" }),
		"push.scan.exceptions[].id":      carried(FindingExceptionDocument{ID: "CVE-2026-1"}, func(e *FindingExceptionDocument) { e.ID += "0" }),
		"push.scan.exceptions[].package": carried(FindingExceptionDocument{Package: "openssl"}, func(e *FindingExceptionDocument) { e.Package = "zlib" }),
		"push.scan.exceptions[].until":   carried(FindingExceptionDocument{ID: "CVE-2026-1"}, func(e *FindingExceptionDocument) { e.Until = "2026-11-23" }),
		"push.scan.exceptions[].reason":  {never: "a reason is for whoever reviews the policy"},

		"push.seal.signer":     {never: "who signs is no demand on an image; a signer that is not known does not compile"},
		"push.seal.signers":    {never: "who signs is no demand on an image; a signer that is not known does not compile"},
		"push.seal.scan":       {never: "what is attested of an image is no demand on it"},
		"push.seal.sbom":       {never: "what is attested of an image is no demand on it"},
		"push.seal.summary":    {never: "what is attested of an image is no demand on it"},
		"push.immutable_tags":  {never: "the gateway looks at what a tag names; it is tested there"},
		"push.accept_unsealed": {never: "without it and without a seal a policy does not compile"},

		"push.image.nonroot":        found("", RunsAsRoot, func(d *ImageDocument, a string) { d.NonRoot = a }, func(i *Image) { i.User = "0:1" }),
		"push.image.root_group":     found("", RunsInRootGroup, func(d *ImageDocument, a string) { d.RootGroup = a }, func(i *Image) { i.User = "1:0" }),
		"push.image.secrets":        found(CheckSecrets, HoldsSecrets, func(d *ImageDocument, a string) { d.Secrets = a }, nil),
		"push.image.setuid":         found(CheckSetuid, Setuid, func(d *ImageDocument, a string) { d.Setuid = a }, nil),
		"push.image.capabilities":   found(CheckCapabilities, FileCapabilities, func(d *ImageDocument, a string) { d.Capabilities = a }, nil),
		"push.image.devices":        found(CheckDevices, DeviceFiles, func(d *ImageDocument, a string) { d.Devices = a }, nil),
		"push.image.paths":          found(CheckPaths, OddPaths, func(d *ImageDocument, a string) { d.Paths = a }, nil),
		"push.image.world_writable": found(CheckWorldWritable, WorldWritable, func(d *ImageDocument, a string) { d.WorldWritable = a }, nil),
		"push.image.minimal":        found(CheckMinimal, NotMinimal, func(d *ImageDocument, a string) { d.Minimal = a }, nil),
		"push.image.caches":         found(CheckCaches, PackageCaches, func(d *ImageDocument, a string) { d.Caches = a }, nil),
		"push.image.end_of_life":    found("", EndOfLife, func(d *ImageDocument, a string) { d.EndOfLife = a }, func(i *Image) { i.Content.System.Version = "11" }),
		"push.image.ports":          found("", SensitivePorts, func(d *ImageDocument, a string) { d.Ports = a }, configured(CheckPorts)),
		"push.image.volumes":        found("", SensitiveVolumes, func(d *ImageDocument, a string) { d.Volumes = a }, configured(CheckVolumes)),
		"push.image.future":         found("", FromTheFuture, func(d *ImageDocument, a string) { d.Future = a }, func(i *Image) { i.Config.Created = now.Add(time.Hour) }),
		"push.image.platform":       found("", AnotherPlatform, func(d *ImageDocument, a string) { d.Platform = a }, func(i *Image) { i.Config.Architecture = "arm64" }),
		"push.image.history":        found("", AnotherHistory, func(d *ImageDocument, a string) { d.History = a }, func(i *Image) { i.Config.HistoryLayers = 7 }),

		"push.image.labels.required": image(ImageDocument{Labels: &LabelsDocument{Required: []string{"team"}}}, MissingLabels, nil,
			func(d *ImageDocument) { d.Labels.Required[0] = "owner" }),
		"push.image.labels.on_miss": image(ImageDocument{Labels: &LabelsDocument{Required: []string{"owner"}, OnMiss: "warn"}}, MissingLabels, nil,
			func(d *ImageDocument) { d.Labels.OnMiss = "deny" }),
		"push.image.profile.any": image(ImageDocument{Profile: &ProfileDocument{Any: []string{"distroless"}}}, AnotherProfile, nil,
			func(d *ImageDocument) { d.Profile.Any[0] = "scratch" }),
		"push.image.profile.on_miss": image(ImageDocument{Profile: &ProfileDocument{Any: []string{"scratch"}, OnMiss: "warn"}}, AnotherProfile, nil,
			func(d *ImageDocument) { d.Profile.OnMiss = "deny" }),
		"push.image.base.approved": image(ImageDocument{Base: &BaseDocument{Approved: "bases.yaml", Scratch: true}}, UnapprovedBase, nil,
			func(d *ImageDocument) { d.Base.Approved = "" }),
		"push.image.base.max_age": image(ImageDocument{Base: &BaseDocument{Approved: "bases.yaml", MaxAge: 120 * time.Hour}}, UnapprovedBase, nil,
			func(d *ImageDocument) { d.Base.MaxAge = 48 * time.Hour }),
		"push.image.base_claim": image(ImageDocument{Base: &BaseDocument{Approved: "bases.yaml", OnMiss: "allow"}}, FalseBaseClaim,
			func(i *Image) { i.BaseClaim.Digest, i.Content.DiffIDs = debianImage.String(), i.Content.DiffIDs[1:] },
			func(d *ImageDocument) { d.BaseClaim = "deny" }),
		"push.image.age.max": image(ImageDocument{Age: &AgeDocument{Max: 90 * 24 * time.Hour}}, TooOld, nil, func(d *ImageDocument) { d.Age.Max = 24 * time.Hour }),
		"push.image.age.on_miss": image(ImageDocument{Age: &AgeDocument{Max: time.Hour, OnMiss: "warn"}}, TooOld, nil,
			func(d *ImageDocument) { d.Age.OnMiss = "deny" }),
		"push.image.base.scratch": image(ImageDocument{Base: &BaseDocument{Approved: "bases.yaml", Scratch: true}}, UnapprovedBase,
			func(i *Image) { *i.Content = Content{DiffIDs: i.Content.DiffIDs[1:]} }, func(d *ImageDocument) { d.Base.Scratch = false }),
		"push.image.base.on_miss": image(ImageDocument{Base: &BaseDocument{Approved: "bases.yaml", OnMiss: "allow"}}, UnapprovedBase, anotherBase,
			func(d *ImageDocument) { d.Base.OnMiss = "deny" }),
		"push.image.exceptions[].check":  excepted(func(e *ExceptionDocument) { e.Check = "world_writable" }),
		"push.image.exceptions[].path":   excepted(func(e *ExceptionDocument) { e.Path = "usr/bin/sudo" }),
		"push.image.exceptions[].until":  excepted(func(e *ExceptionDocument) { e.Until = "2026-11-23" }),
		"push.image.exceptions[].reason": {never: "a reason is for whoever reviews the policy"},
		"push.image.max_bytes":           image(ImageDocument{MaxBytes: 100}, TooLarge, nil, func(d *ImageDocument) { d.MaxBytes = 99 }),
		"push.image.max_files":           image(ImageDocument{MaxFiles: 7}, TooManyFiles, nil, func(d *ImageDocument) { d.MaxFiles = 6 }),
		"push.image.max_layers":          image(ImageDocument{MaxLayers: 2}, TooManyLayers, nil, func(d *ImageDocument) { d.MaxLayers = 1 }),
	}
}

func twoSignatures() Evidence {
	ev := by("gateway", "ci")
	for i := range ev.Signatures {
		ev.Signatures[i].Signer = ev.Signatures[i].Authority
	}
	return Evidence{Signatures: slices.Clone(ev.Signatures)}
}

// signedAt is a signature of ci's of which a log says the time, claimedAt one that says it itself.
func signedAt(at time.Time) Evidence {
	return Evidence{Signatures: []Signature{{Authority: "ci", Signer: "ci", Time: at}}}
}

func claimedAt(at time.Time) Evidence {
	return Evidence{Signatures: []Signature{{Authority: "ci", Signer: "ci", Claimed: at}}}
}
