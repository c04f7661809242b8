package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// ids are diff ids that are told apart by a letter each.
func ids(letters string) (all []digest.Digest) {
	for _, c := range letters {
		all = append(all, digest.FromString(string(c)))
	}
	return all
}

// approving is a rule that wants a base of this list, and its claims to be true.
func approving(t *testing.T, doc BaseDocument, list ...Base) *Rule {
	t.Helper()
	k := known()
	k.Bases["list.yaml"] = list
	doc.Approved = "list.yaml"
	p, err := Compile([]Document{{Name: "a", Repositories: []string{"**"}, Push: &PushDocument{AcceptUnsealed: true, Image: ImageDocument{Base: &doc, BaseClaim: "deny"}}}}, k)
	if err != nil {
		t.Fatal(err)
	}
	return p.Rule(subject.Repo)
}

func onLayers(letters string) Image {
	image := spotless()
	image.Content.DiffIDs, image.Content.System = ids(letters), System{ID: "debian", Version: "13"}
	return image
}

func TestABaseCountsForSoLongAfterTheListSaidSo(t *testing.T) {
	const most = 90 * 24 * time.Hour
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	november := Base{Name: "debian", DiffIDs: ids("a"), Refreshed: "2026-11-01"}
	march := Base{Name: "debian", DiffIDs: ids("m"), Refreshed: "2026-03-01"}
	ended := Base{Name: "debian", DiffIDs: ids("e"), Refreshed: "2026-11-01", Until: "2026-11-10"}
	again := Base{Name: "debian again", DiffIDs: ids("m"), Refreshed: "2026-11-20"}
	for name, c := range map[string]struct {
		list []Base
		on   string
		at   time.Time
		why  string
	}{
		"a new one":                       {[]Base{march, november}, "ax", now, ""},
		"the last moment":                 {[]Base{november}, "ax", day("2026-11-01").Add(most), ""},
		"past the last moment":            {[]Base{november}, "ax", day("2026-11-01").Add(most + 1), "its base image debian was approved more than 90 days ago, at most 90 days are allowed"},
		"an old one":                      {[]Base{november, march}, "mx", now, "its base image debian was approved 268 days ago, at most 90 days are allowed"},
		"an old one that was found again": {[]Base{march, again}, "mx", now, ""},
		"one that was ended":              {[]Base{ended}, "ex", now, "its base image debian is not approved any more"},
		"old twice, the later one":        {[]Base{again, march}, "mx", now.Add(2 * most), "its base image debian again was approved 18"},
		"another":                         {[]Base{november}, "x", now, "it stands on no approved base image"},
		"fewer layers than the base":      {[]Base{{Name: "b", DiffIDs: ids("ab"), Refreshed: "2026-11-01"}}, "a", now, "it stands on no approved base image"},
		"a clock before the list's":       {[]Base{november}, "ax", day("2026-10-01"), ""},
	} {
		v := approving(t, BaseDocument{MaxAge: most}, c.list...).JudgePush(subject, onLayers(c.on), c.at)
		consistent(t, v)
		switch {
		case c.why == "" && !v.Admitted():
			t.Errorf("%s: refused: %+v", name, v.Reasons())
		case c.why != "" && (codes(v.Reasons()) != "UNAPPROVED_BASE" || !strings.HasPrefix(v.Reasons()[0].Why, c.why)):
			t.Errorf("%s: got %+v, want %q", name, v.Reasons(), c.why)
		}
	}
	if v := approving(t, BaseDocument{}, march).JudgePush(subject, onLayers("mx"), now); !v.Admitted() {
		t.Errorf("without max_age a base does not age: %+v", v.Reasons())
	}
	r := &Rule{push: &PushDocument{AcceptUnsealed: true, Image: ImageDocument{Base: &BaseDocument{MaxAge: most, OnMiss: "deny"}, MaxLayers: 9}}, bases: []base{{Base: Base{Name: "x", DiffIDs: ids("a")}}}}
	if v := r.JudgePush(subject, onLayers("a"), now); v.Admitted() {
		t.Error("a base of which nobody knows when it was approved does not age")
	}
}

func TestABaseWithoutLayersIsUnderNothing(t *testing.T) {
	for _, empty := range []Base{{}, {DiffIDs: ids("")}} {
		if empty.Under(nil) || empty.Under(ids("abc")) || LargestUnder(ids("abc"), []Base{empty}) != nil {
			t.Errorf("%+v is under everything", empty)
		}
	}
	empty := digest.Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef") // as build tools write it
	if !(Base{DiffIDs: []digest.Digest{empty}}).HoldsNothing() || (Base{DiffIDs: append(ids("a"), empty)}).HoldsNothing() {
		t.Error("a base of empty layers is taken for one that holds something, or the other way around")
	}
	if got := LargestUnder(ids("abc"), []Base{{Name: "1", DiffIDs: ids("a")}, {Name: "2", DiffIDs: ids("ab")}, {Name: "3", DiffIDs: ids("abcd")}, {Name: "4", DiffIDs: ids("b")}}); got == nil || got.Name != "2" {
		t.Errorf("the largest is %+v", got)
	}
}

func TestFaultsOfListsSayHowToMendThem(t *testing.T) {
	good := Base{Name: "debian", DiffIDs: ids("a"), Refreshed: "2026-11-20"}
	with := func(change func(*Base)) []Base {
		b := good
		change(&b)
		return []Base{b}
	}
	for name, c := range map[string]struct {
		image ImageDocument
		list  []Base
		want  string
	}{
		"no day":        {ImageDocument{Base: &BaseDocument{MaxAge: 48 * time.Hour}}, with(func(b *Base) { b.Refreshed = "" }), ".base.max_age: debian has no day from which that counts; write refreshed beside its diff_ids, or name its image and run: sealgate bases refresh"},
		"another day":   {ImageDocument{Base: &BaseDocument{}}, with(func(b *Base) { b.Refreshed = "yesterday" }), `.base.approved: debian: refreshed "yesterday" is no day; write it like "2027-01-31"`},
		"a day to come": {ImageDocument{Base: &BaseDocument{}}, with(func(b *Base) { b.Refreshed = "2026-11-26" }), ".base.approved: debian: refreshed 2026-11-26 is yet to come, and would make it last too long"},
		"no layers":     {ImageDocument{Base: &BaseDocument{}}, with(func(b *Base) { b.DiffIDs = nil }), ".base.approved: debian has no diff_ids, and would approve everything"},
		"empty layers": {ImageDocument{Base: &BaseDocument{}}, with(func(b *Base) {
			b.DiffIDs = []digest.Digest{digest.FromBytes(make([]byte, 1024)), digest.FromString("")}
		}), ".base.approved: debian has nothing but empty layers, and anybody can begin an image with those"},
		"a negative age":     {ImageDocument{Base: &BaseDocument{MaxAge: -1}}, with(func(*Base) {}), ".base.max_age: is negative"},
		"less than a day":    {ImageDocument{Base: &BaseDocument{MaxAge: time.Hour}}, with(func(*Base) {}), ".base.max_age: is less than 24h, and lists count in days"},
		"an age of no list":  {ImageDocument{Base: &BaseDocument{Approved: "-", Scratch: true, MaxAge: 24 * time.Hour}}, nil, ".base.max_age: means nothing without approved; leave it out"},
		"claims and no list": {ImageDocument{BaseClaim: "warn"}, nil, ".base_claim: has no list to hold claims against; name one in base.approved (with on_miss: allow it asks nothing else)"},
		"claims and scratch": {ImageDocument{BaseClaim: "deny", Base: &BaseDocument{Approved: "-", Scratch: true}}, nil, ".base_claim: has no list to hold claims against; name one in base.approved (with on_miss: allow it asks nothing else)"},
		"no age":             {ImageDocument{Age: &AgeDocument{}}, nil, ".age.max: is not how old an image may be; write it like 2160h"},
		"an odd age":         {ImageDocument{Age: &AgeDocument{Max: 1, OnMiss: "perhaps"}}, nil, `.age.on_miss: "perhaps" is none of allow, warn, deny`},
	} {
		k := known()
		k.Now = now
		k.Bases["list.yaml"] = c.list
		switch base := c.image.Base; {
		case base != nil && base.Approved == "-":
			base.Approved = ""
		case base != nil:
			base.Approved = "list.yaml"
		}
		_, err := Compile([]Document{{Name: "a", Repositories: []string{"**"}, Push: &PushDocument{AcceptUnsealed: true, Image: c.image}}}, k)
		if all := faults(t, err); len(all) != 1 || all[0] != "[0].push.image"+c.want {
			t.Errorf("%s: got %q, want %q", name, all, c.want)
		}
	}
	k := known()
	k.Now = now
	k.Bases["list.yaml"] = with(func(b *Base) { b.Refreshed = "2026-11-25" }) // it is that day already somewhere
	if _, err := Compile([]Document{{Name: "a", Repositories: []string{"**"}, Push: &PushDocument{AcceptUnsealed: true, Image: ImageDocument{Base: &BaseDocument{Approved: "list.yaml"}}}}}, k); err != nil {
		t.Error(err)
	}
}

func TestThreat166_AFalseClaimAboutTheBaseIsTold(t *testing.T) {
	manifestOf := func(c string) digest.Digest { return digest.FromString("manifest " + c) }
	pin := func(name, image, layers string) Base {
		return Base{Name: name, Image: image, DiffIDs: ids(layers), Digests: []digest.Digest{manifestOf(layers), manifestOf("index of " + name)}}
	}
	list := []Base{
		pin("debian", "docker.io/library/debian:13", "d"), pin("debian", "docker.io/library/debian:13", "D"),
		pin("python", "docker.io/library/python:3", "dp"), pin("alpine", "alpine", "a"), {Name: "by hand", DiffIDs: ids("h")},
	}
	byDigest := func(c string) BaseClaim { return BaseClaim{Name: "whatever", Digest: manifestOf(c).String()} }
	byName := func(name string) BaseClaim { return BaseClaim{Name: name} }
	for name, c := range map[string]struct {
		claim BaseClaim
		on    string
		why   string
	}{
		"the manifest of its base":               {byDigest("d"), "dx", ""},
		"the index of its base":                  {byDigest("index of debian"), "Dx", ""},
		"the base below its base":                {byDigest("d"), "dpx", ""},
		"another pin of its base":                {byDigest("d"), "Dx", "it claims to stand on debian (sha256:"},
		"another base that is approved":          {byDigest("d"), "ax", "it claims to stand on debian (sha256:" + manifestOf("d").Encoded()[:12] + "), and stands on alpine (sha256:" + manifestOf("a").Encoded()[:12] + ")"},
		"a base by hand":                         {byDigest("d"), "hx", "it claims to stand on debian (sha256:" + manifestOf("d").Encoded()[:12] + "), and stands on by hand"},
		"a base that nobody approved":            {byDigest("d"), "x", "it claims to stand on debian (sha256:" + manifestOf("d").Encoded()[:12] + "), and its layers do not begin with that"},
		"a base of which it has a part":          {byDigest("dp"), "d", "it claims to stand on python"},
		"its layers in another order":            {byDigest("dp"), "pd", "it claims to stand on python"},
		"no layers at all":                       {byDigest("d"), "", "it claims to stand on debian"},
		"a digest that the list does not have":   {byDigest("z"), "ax", ""},
		"such a digest, and a name that it has":  {BaseClaim{"alpine", manifestOf("z").String()}, "dx", ""},
		"no digest":                              {BaseClaim{Digest: "latest"}, "ax", ""},
		"the name of its base":                   {byName("debian:13"), "Dx", ""},
		"its name with a host":                   {byName("index.docker.io/library/alpine"), "ax", ""},
		"its name with a digest":                 {byName("alpine:latest@sha256:00"), "ax", ""},
		"the name of another":                    {byName("alpine:latest"), "dx", "it claims to stand on alpine, and stands on debian"},
		"the name of another, and nothing known": {byName("alpine"), "x", ""},
		"the name of what may stand on its base": {byName("python:3"), "dx", ""},
		"the name of what does not":              {byName("python:3"), "ax", "it claims to stand on python, and stands on alpine"},
		"the name of another tag":                {byName("debian:12"), "ax", ""},
		"the name at another host":               {byName("example.org/library/debian:13"), "ax", ""},
		"nothing":                                {BaseClaim{}, "x", ""},
		"a name to print":                        {BaseClaim{Digest: "sha256:\n\x1b[2J"}, "ax", ""},
	} {
		for where, put := range map[string]func(*Image){
			"the manifest": func(i *Image) { i.BaseClaim = c.claim },
			"the labels": func(i *Image) {
				i.Config.Labels = map[string]string{"org.opencontainers.image.base.name": c.claim.Name, "org.opencontainers.image.base.digest": c.claim.Digest}
			},
		} {
			image := onLayers(c.on)
			put(&image)
			v := approving(t, BaseDocument{OnMiss: "allow"}, list...).JudgePush(subject, image, now)
			consistent(t, v)
			switch {
			case c.why == "" && !v.Admitted():
				t.Errorf("%s, in %s: refused: %+v", name, where, v.Reasons())
			case c.why != "" && (codes(v.Reasons()) != "FALSE_BASE_CLAIM" || !strings.HasPrefix(v.Reasons()[0].Why, c.why)):
				t.Errorf("%s, in %s: got %+v, want %q", name, where, v.Reasons(), c.why)
			}
		}
	}
	if why := FalseClaim(Image{BaseClaim: byDigest("d"), Content: &Content{}}, list); why != "" {
		t.Errorf("of an image that was not read: %s", why)
	}
	image := onLayers("dx")
	image.BaseClaim, image.Config.Labels = byDigest("d"), map[string]string{"org.opencontainers.image.base.digest": manifestOf("a").String()}
	if why := FalseClaim(image, list); !strings.HasPrefix(why, "it claims to stand on alpine") {
		t.Errorf("a label that lies beside an annotation that does not: %q", why)
	}
}

func TestNamesOfImagesAreComparedWrittenOut(t *testing.T) {
	for name, want := range map[string]string{
		"debian": "docker.io/library/debian:latest", "debian:13": "docker.io/library/debian:13", "acme/app": "docker.io/acme/app:latest",
		"docker.io/debian": "docker.io/library/debian:latest", "index.docker.io/library/debian:1": "docker.io/library/debian:1",
		"localhost/a": "localhost/a:latest", "host:5000/a": "host:5000/a:latest", "ghcr.io/a/b:c@sha256:00": "ghcr.io/a/b:c", "": "docker.io/library/:latest",
	} {
		if got := fullName(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
