package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// strict is a rule that has every check on deny, and an exception for usr/bin/su until the end of 2027-01-31.
func strict(t testing.TB) *Rule {
	t.Helper()
	return mustCompile(t, full()).Rule("prod/app")
}

func TestASpotlessImageIsAdmitted(t *testing.T) {
	v := strict(t).JudgePush(subject, spotless(), now)
	consistent(t, v)
	if !v.Admitted() {
		t.Errorf("got %+v", v.Reasons())
	}
}

func TestEachCheckRefusesWhatItFinds(t *testing.T) {
	found := func(check Check, path, what string) func(*Image) {
		return func(i *Image) {
			i.Content.Findings = append(i.Content.Findings, ImageFinding{Check: check, Path: path, What: what, Layer: debian})
		}
	}
	configured := func(check Check, path string) func(*Image) {
		return func(i *Image) { i.Config.Findings = append(i.Config.Findings, ImageFinding{Check: check, Path: path}) }
	}
	for name, c := range map[string]struct {
		change func(*Image)
		code   string
		why    string // how it begins
	}{
		"a secret":                  {found(CheckSecrets, "app/.env", "github-token in line 3"), "SECRETS", "it holds a secret: app/.env (github-token in line 3)"},
		"a secret in a variable":    {configured(CheckSecrets, "config.Env TOKEN"), "SECRETS", "it holds a secret: config.Env TOKEN"},
		"root":                      {func(i *Image) { i.User = "0:1" }, "RUNS_AS_ROOT", "it runs as root (user 0)"},
		"root by name":              {func(i *Image) { i.User, i.Account = "toor:1", &Account{} }, "RUNS_AS_ROOT", `it runs as root: its /etc/passwd says that user "toor" is 0`},
		"a name nobody looked up":   {func(i *Image) { i.User = "app:1" }, "RUNS_AS_ROOT", `whether user "app" is root cannot be told from its name`},
		"a name nobody knows":       {func(i *Image) { i.User, i.Account = "app:1", &Account{UserUnknown: "/etc/passwd does not have it"} }, "RUNS_AS_ROOT", `whether user "app" is root cannot be told: /etc/passwd does not have it`},
		"a name for a huge number":  {func(i *Image) { i.User, i.Account = "app:1", &Account{UID: 1 << 31} }, "RUNS_AS_ROOT", `user "app" is 2147483648, which is no user number`},
		"a name for another":        {func(i *Image) { i.User, i.Account = "app:1", &Account{UID: 1000} }, "", ""},
		"group 0":                   {func(i *Image) { i.User = "1:0" }, "ROOT_GROUP", "it runs in group 0"},
		"group root":                {func(i *Image) { i.User = "1:root" }, "ROOT_GROUP", "it runs in group 0"},
		"a huge group":              {func(i *Image) { i.User = "1:4294967296" }, "ROOT_GROUP", "group 4294967296 is no group number"},
		"no group":                  {func(i *Image) { i.User, i.Account = "1", &Account{UID: 1} }, "ROOT_GROUP", "it runs in group 0"},
		"no group, and one anyway":  {func(i *Image) { i.User, i.Account = "1", &Account{UID: 1, GID: 5} }, "", ""},
		"no group, nobody looked":   {func(i *Image) { i.User = "1" }, "ROOT_GROUP", "its group cannot be told from the configuration"},
		"a group nobody knows":      {func(i *Image) { i.User, i.Account = "1:a", &Account{GroupUnknown: "/etc/group does not have it"} }, "ROOT_GROUP", "its group cannot be told: /etc/group does not have it"},
		"a group for a huge number": {func(i *Image) { i.User, i.Account = "1:a", &Account{GID: 1 << 31} }, "ROOT_GROUP", "its group is 2147483648, which is no group number"},
		"setuid":                    {found(CheckSetuid, "usr/bin/sudo", "setuid, user 0"), "SETUID", "it has a setuid or setgid file: usr/bin/sudo (setuid, user 0)"},
		"setuid that is excepted":   {found(CheckSetuid, "usr/bin/su", "setuid, user 0"), "", ""},
		"capabilities":              {found(CheckCapabilities, "a", ""), "FILE_CAPABILITIES", "it has a file with capabilities: a"},
		"a device":                  {found(CheckDevices, "a", ""), "DEVICE_FILES", "it has a device file: a"},
		"an odd path":               {found(CheckPaths, "a", "there twice"), "ODD_PATHS", "it has an odd name: a (there twice)"},
		"a writable file":           {found(CheckWorldWritable, "a", ""), "WORLD_WRITABLE", "everybody may change a file: a"},
		"a shell":                   {found(CheckMinimal, "bin/sh", "shell"), "NOT_MINIMAL ANOTHER_PROFILE", "it has a shell or package manager: bin/sh (shell)"},
		"a cache":                   {found(CheckCaches, "a", ""), "PACKAGE_CACHES", "it carries a leftover of a package manager: a"},
		"a port":                    {configured(CheckPorts, "config.ExposedPorts 22/tcp"), "SENSITIVE_PORTS", "it exposes a port of remote administration: config.ExposedPorts 22/tcp"},
		"a volume":                  {configured(CheckVolumes, "config.Volumes /etc"), "SENSITIVE_VOLUMES", "it declares a volume over the system: config.Volumes /etc"},
		"a label that is empty":     {func(i *Image) { i.Config.Labels["team"] = " " }, "MISSING_LABELS", "it lacks the label team"},
		"the future":                {func(i *Image) { i.Config.Created = now.Add(time.Hour) }, "FROM_THE_FUTURE", "it says that it was made at 2026-11-24T13:00:00Z"},
		"a clock that is ahead":     {func(i *Image) { i.Config.Created = now.Add(clockSkew) }, "", ""},
		"another program":           {func(i *Image) { i.Content.Program, i.Content.Programs = "arm64", []string{"amd64", "arm64"} }, "ANOTHER_PLATFORM", "it says that it is for linux/amd64, and starts a program for arm64"},
		"other programs":            {func(i *Image) { i.Content.Program, i.Content.Programs = "", []string{"386", "arm64"} }, "ANOTHER_PLATFORM", "it says that it is for linux/amd64, and its programs are for 386, arm64"},
		"also other programs":       {func(i *Image) { i.Content.Program, i.Content.Programs = "", []string{"amd64", "arm64"} }, "", ""},
		"no programs":               {func(i *Image) { i.Config.OS, i.Content.Program, i.Content.Programs = "", "", nil }, "", ""},
		"another system":            {func(i *Image) { i.Config.OS = "windows" }, "ANOTHER_PLATFORM", "it says that it is for windows/amd64, and has programs for linux"},
		"no platform":               {func(i *Image) { i.Config.Architecture = "" }, "ANOTHER_PLATFORM", "it says that it is for linux/, and starts a program for amd64"},
		"a history of more layers":  {func(i *Image) { i.Config.HistoryLayers = 3 }, "ANOTHER_HISTORY", "its history tells of 3 layers, and it has 2"},
		"a history of no layers":    {func(i *Image) { i.Config.HistoryLayers = 0 }, "ANOTHER_HISTORY", "its history tells of 0 layers, and it has 2"},
		"no history":                {func(i *Image) { i.Config.HistoryLayers = -1 }, "", ""},
		"the end of life":           {func(i *Image) { i.Content.System.Version = "11" }, "END_OF_LIFE", "its system debian 11 has had no security fixes since 2026-08-31"},
		"another base":              {func(i *Image) { i.Content.DiffIDs = i.Content.DiffIDs[1:] }, "UNAPPROVED_BASE", "it stands on no approved base image"},
		"a base that has expired":   {func(i *Image) { i.Content.DiffIDs[0] = old }, "UNAPPROVED_BASE", "its base image old is not approved any more"},
		"a lie about its base": {func(i *Image) {
			i.Content.DiffIDs, i.BaseClaim.Digest = []digest.Digest{debianImage}, debianImage.String()
		},
			"UNAPPROVED_BASE FALSE_BASE_CLAIM", ""},
		"a true word about its base": {func(i *Image) { i.BaseClaim.Digest = debianImage.String() }, "", ""},
		"long ago":                   {func(i *Image) { i.Config.Created = now.AddDate(-1, 0, 0) }, "IMAGE_TOO_OLD", "it says that it was made 365 days ago, at most 90 days are allowed"},
		"the last moment":            {func(i *Image) { i.Config.Created = now.Add(-90 * 24 * time.Hour) }, "", ""},
		"past the last moment":       {func(i *Image) { i.Config.Created = now.Add(-90*24*time.Hour - 1) }, "IMAGE_TOO_OLD", "it says that it was made more than 90 days ago, at most 90 days are allowed"},
		"no date":                    {func(i *Image) { i.Config.Created = time.Time{} }, "IMAGE_TOO_OLD", "it does not say when it was made"},
		"the date of 1970":           {func(i *Image) { i.Config.Created = time.Unix(0, 0) }, "IMAGE_TOO_OLD", "it does not say when it was made"},
		"the date of 1980":           {func(i *Image) { i.Config.Created = time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC) }, "IMAGE_TOO_OLD", "it does not say when it was made"},
		"scratch":                    {func(i *Image) { *i.Content = Content{DiffIDs: i.Content.DiffIDs[1:]} }, "", ""},
		"scratch with a shell": {func(i *Image) {
			*i.Content = Content{Findings: []ImageFinding{{Check: CheckMinimal, Path: "bin/sh"}}}
		}, "UNAPPROVED_BASE NOT_MINIMAL ANOTHER_PROFILE", ""},
		"a flaw":        {func(i *Image) { i.Content.Flaws = []Flaw{{debian, "it is encrypted"}} }, "UNINSPECTABLE", "layer sha256:" + debian.Encoded()[:12] + " cannot be inspected: it is encrypted"},
		"a flaw of all": {func(i *Image) { i.Content.Flaws = []Flaw{{"", "it has 128 layers"}} }, "UNINSPECTABLE", "it cannot be inspected: it has 128 layers"},
		"a flaw, and all else": {func(i *Image) {
			*i = Image{Runnable: true, Config: &Config{}, Content: &Content{Flaws: []Flaw{{debian, "x"}}}}
		}, "UNINSPECTABLE", ""},
		"layers nobody read":     {func(i *Image) { i.Content = nil }, "UNINSPECTABLE", "it was not inspected"},
		"a config nobody read":   {func(i *Image) { i.Config = nil }, "UNINSPECTABLE", "it was not inspected"},
		"an artifact":            {func(i *Image) { *i = Image{} }, "", ""},
		"findings left out":      {func(i *Image) { i.Content.Omitted = map[Check]int{CheckDevices: 7} }, "DEVICE_FILES", "it has 7 device files, and 7 more"},
		"several of one kind":    {func(i *Image) { found(CheckDevices, "a", "")(i); found(CheckDevices, "b", "")(i) }, "DEVICE_FILES", "it has 2 device files: a, b"},
		"a name to print":        {found(CheckDevices, "a\x1b[2J\nb\u202e", ""), "DEVICE_FILES", `it has a device file: a\x1b[2J\nb\u202e`},
		"a long name":            {found(CheckDevices, strings.Repeat("d/", 1000)+"end", ""), "DEVICE_FILES", "it has a device file: ..."},
		"a long flaw":            {func(i *Image) { i.Content.Flaws = []Flaw{{debian, strings.Repeat("x", 500)}} }, "UNINSPECTABLE", "layer "},
		"what no check finds":    {found("of another time", "a", ""), "", ""},
		"a finding without path": {found(CheckSetuid, "", ""), "SETUID", ""},
	} {
		image := spotless()
		c.change(&image)
		v := strict(t).JudgePush(subject, image, now)
		consistent(t, v)
		if codes(v.Reasons()) != c.code || c.code != "" && !strings.HasPrefix(v.Reasons()[0].Why, c.why) {
			t.Errorf("%s: got %+v, want %s: %s", name, v.Reasons(), c.code, c.why)
		}
	}
}

func TestChecksWarnWhereTheySaySo(t *testing.T) {
	image := spotless()
	image.Content.Findings = []ImageFinding{{Check: CheckSetuid, Path: "a"}, {Check: CheckSecrets, Path: "b"}}
	v := pushRule(t, ImageDocument{Setuid: "warn", Secrets: "allow"}).JudgePush(subject, image, now)
	consistent(t, v)
	if !v.Admitted() || codes(v.Warnings()) != "SETUID" {
		t.Errorf("got %+v and %+v", v.Reasons(), v.Warnings())
	}
	image.Content.Flaws = []Flaw{{debian, "it is encrypted"}}
	if v := pushRule(t, ImageDocument{Setuid: "warn"}).JudgePush(subject, image, now); v.Admitted() {
		t.Error("a layer that nobody can read passes with a warning")
	}
}

func TestARefusalListsTheFirstFindingsAndCountsTheRest(t *testing.T) {
	image := spotless()
	for n := range 1000 {
		image.Content.Findings = append(image.Content.Findings, ImageFinding{Check: CheckSetuid, Path: fmt.Sprintf("usr/lib/some/where/program%d", n), What: "setuid, user 0"})
	}
	image.Content.Omitted = map[Check]int{CheckSetuid: 50}
	v := strict(t).JudgePush(subject, image, now)
	consistent(t, v)
	why := v.Reasons()[0].Why
	if !strings.HasPrefix(why, "it has 1050 setuid or setgid files: usr/lib/some/where/program0 (setuid, user 0), ") || !strings.HasSuffix(why, ", and 1047 more") {
		t.Errorf("got %q", why)
	}
}

func TestExceptionsEnd(t *testing.T) {
	image := spotless()
	image.Config.Created = now
	image.Content.Findings = []ImageFinding{{Check: CheckSetuid, Path: "usr/bin/su"}}
	last := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	for at, admitted := range map[time.Time]bool{now: true, last: true, last.Add(time.Second): false, last.In(time.FixedZone("", 3600*9)): true} {
		if v := strict(t).JudgePush(subject, image, at); v.Admitted() != admitted {
			t.Errorf("at %v: got %+v", at, v.Reasons())
		}
	}
}

func TestExceptionsCoverWhatTheySay(t *testing.T) {
	image := spotless()
	image.User = "0:0"
	image.Content.DiffIDs = nil
	image.Content.Findings = []ImageFinding{{Check: CheckSetuid, Path: "opt/a/b"}, {Check: CheckSecrets, Path: "opt/a/b"}}
	image.Content.Omitted = map[Check]int{CheckSetuid: 1}
	for name, c := range map[string]struct {
		exceptions []ExceptionDocument
		want       string
	}{
		"nothing":           {nil, "SECRETS RUNS_AS_ROOT ROOT_GROUP UNAPPROVED_BASE SETUID"},
		"a path":            {[]ExceptionDocument{{Check: "secrets", Path: "opt/a/b"}}, "RUNS_AS_ROOT ROOT_GROUP UNAPPROVED_BASE SETUID"},
		"a pattern":         {[]ExceptionDocument{{Check: "secrets", Path: "opt/**"}}, "RUNS_AS_ROOT ROOT_GROUP UNAPPROVED_BASE SETUID"},
		"another path":      {[]ExceptionDocument{{Check: "secrets", Path: "opt/*"}}, "SECRETS RUNS_AS_ROOT ROOT_GROUP UNAPPROVED_BASE SETUID"},
		"what was left out": {[]ExceptionDocument{{Check: "setuid", Path: "**"}}, "SECRETS RUNS_AS_ROOT ROOT_GROUP UNAPPROVED_BASE SETUID"},
		"whole checks": {[]ExceptionDocument{
			{Check: "secrets"}, {Check: "nonroot"}, {Check: "root_group"}, {Check: "base"}, {Check: "setuid"},
		}, ""},
	} {
		doc := full()
		doc.Push.Image.Exceptions = c.exceptions
		for i := range c.exceptions {
			c.exceptions[i].Until, c.exceptions[i].Reason = "2027-01-01", "a reason"
		}
		v := mustCompile(t, doc).Rule("prod/app").JudgePush(subject, image, now)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestARuleNeedsWhatItsChecksLookAt(t *testing.T) {
	for name, c := range map[string]struct {
		image ImageDocument
		want  ImageNeeds
	}{
		"nothing":         {ImageDocument{}, ImageNeeds{}},
		"sizes":           {ImageDocument{MaxBytes: 1, MaxLayers: 1}, ImageNeeds{Sizes: true}},
		"the user":        {ImageDocument{NonRoot: "deny"}, ImageNeeds{Account: true}},
		"the group":       {ImageDocument{RootGroup: "warn"}, ImageNeeds{Group: true}},
		"ports":           {ImageDocument{Ports: "warn"}, ImageNeeds{Config: true}},
		"labels":          {ImageDocument{Labels: &LabelsDocument{Required: []string{"a"}}}, ImageNeeds{Config: true}},
		"labels, allowed": {ImageDocument{Labels: &LabelsDocument{Required: []string{"a"}, OnMiss: "allow"}}, ImageNeeds{}},
		"secrets":         {ImageDocument{Secrets: "warn"}, ImageNeeds{Config: true, Layers: true}},
		"setuid":          {ImageDocument{Setuid: "deny"}, ImageNeeds{Layers: true}},
		"a profile":       {ImageDocument{Profile: &ProfileDocument{Any: []string{"alpine"}}}, ImageNeeds{Layers: true}},
		"files":           {ImageDocument{MaxFiles: 1}, ImageNeeds{Layers: true}},
		"a base":          {ImageDocument{Base: &BaseDocument{Scratch: true}}, ImageNeeds{Layers: true}},
		"a claim":         {ImageDocument{BaseClaim: "warn", Base: &BaseDocument{Approved: "bases.yaml", OnMiss: "allow"}}, ImageNeeds{Config: true, Layers: true}},
		"an age":          {ImageDocument{Age: &AgeDocument{Max: time.Hour}}, ImageNeeds{Config: true}},
	} {
		if got := pushRule(t, c.image).ImageNeeds(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	if got := (*Rule)(nil).ImageNeeds(); got != (ImageNeeds{}) {
		t.Errorf("no rule needs %+v", got)
	}
}

func TestEndsOfLifeAreDays(t *testing.T) {
	for _, releases := range endOfLife {
		for version, day := range releases {
			if _, err := time.Parse(time.DateOnly, day); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	}
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct {
		system System
		at     string
		ended  bool
	}{
		{System{ID: "alpine", Version: "3.19.1"}, "2025-11-01", false},
		{System{ID: "alpine", Version: "3.19.1"}, "2025-11-02", true},
		{System{ID: "alpine", Version: "3.1"}, "2030-01-01", false},
		{System{ID: "rhel", Version: "7.9"}, "2026-01-01", true},
		{System{ID: "ubuntu", Version: "24.04"}, "2026-01-01", false},
		{System{ID: "debian"}, "2050-01-01", false},
		{System{ID: "wolfi", Version: "20230201"}, "2050-01-01", false},
		{System{ID: "acme", Version: "1", SupportEnd: day("2026-01-01")}, "2026-01-02", true},
		{System{ID: "acme", Version: "1", SupportEnd: day("2026-01-01")}, "2026-01-01", false},
		{System{ID: "debian", Version: "10", SupportEnd: day("2099-01-01")}, "2026-01-01", true},
		{System{}, "2050-01-01", false},
	} {
		if got := whyEnded(c.system, day(c.at)); (got != "") != c.ended {
			t.Errorf("%+v at %s: got %q", c.system, c.at, got)
		}
	}
}

func TestFaultsOfChecksHaveTheirPlace(t *testing.T) {
	exception := func(change func(*ExceptionDocument)) func(*Document) {
		return func(d *Document) { change(&d.Push.Image.Exceptions[0]) }
	}
	for name, c := range map[string]struct {
		change func(*Document)
		want   string
	}{
		"another action":              {func(d *Document) { d.Push.Image.Secrets = "Deny" }, `[0].push.image.secrets: "Deny" is none of allow, warn, deny`},
		"another action on a miss":    {func(d *Document) { d.Push.Image.Base.OnMiss = "x" }, `[0].push.image.base.on_miss: "x" is none of`},
		"another action on a label":   {func(d *Document) { d.Push.Image.Labels.OnMiss = "x" }, `[0].push.image.labels.on_miss: "x" is none of`},
		"no labels":                   {func(d *Document) { d.Push.Image.Labels.Required = nil }, "[0].push.image.labels.required: names no label"},
		"a label without a name":      {func(d *Document) { d.Push.Image.Labels.Required = []string{"a", ""} }, "[0].push.image.labels.required[1]: is empty"},
		"a base of nothing":           {func(d *Document) { *d.Push.Image.Base, d.Push.Image.BaseClaim = BaseDocument{}, "" }, "[0].push.image.base: approves nothing"},
		"a list nobody read":          {func(d *Document) { d.Push.Image.Base.Approved = "x" }, "[0].push.image.base.approved: the list was not read"},
		"a list that is empty":        {func(d *Document) { d.Push.Image.Base.Approved = "empty.yaml" }, "[0].push.image.base.approved: the list is empty"},
		"an exception of nothing":     {exception(func(e *ExceptionDocument) { e.Check = "" }), `[0].push.image.exceptions[0].check: unknown check ""; checks are age, base, base_claim, caches, `},
		"an exception of max_bytes":   {exception(func(e *ExceptionDocument) { e.Check = "max_bytes" }), `[0].push.image.exceptions[0].check: unknown check "max_bytes"`},
		"an exception without end":    {exception(func(e *ExceptionDocument) { e.Until = "" }), `[0].push.image.exceptions[0].until: "" is no day`},
		"an exception until never":    {exception(func(e *ExceptionDocument) { e.Until = "2027-02-30" }), `[0].push.image.exceptions[0].until: "2027-02-30" is no day`},
		"an exception without reason": {exception(func(e *ExceptionDocument) { e.Reason = " " }), "[0].push.image.exceptions[0].reason: is missing"},
		"an exception of a slash":     {exception(func(e *ExceptionDocument) { e.Path = "/usr/bin/su" }), "[0].push.image.exceptions[0].path: pattern "},
		"a path where there is none":  {exception(func(e *ExceptionDocument) { e.Check = "base" }), "[0].push.image.exceptions[0].path: base finds no paths"},
	} {
		doc := full()
		c.change(&doc)
		_, err := Compile([]Document{doc}, known())
		if err == nil {
			t.Errorf("%s: compiles", name)
			continue
		}
		if got := faults(t, err); len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	for name, list := range map[string][]Base{
		"no diff ids":      {{Name: "a"}},
		"another end":      {{Name: "a", DiffIDs: []digest.Digest{debian}, Until: "soon"}},
		"no digest":        {{Name: "a", DiffIDs: []digest.Digest{"sha256:x"}}},
		"one of two wrong": {{Name: "a", DiffIDs: []digest.Digest{debian}}, {Name: "b"}},
	} {
		k := known()
		k.Bases["bases.yaml"] = list
		if _, err := Compile([]Document{full()}, k); err == nil {
			t.Errorf("%s: compiles", name)
		}
	}
	k := known()
	k.Bases["bases.yaml"][0].DiffIDs = []digest.Digest{old}
	if fingerprint([]Document{full()}, k) == fingerprint([]Document{full()}, known()) {
		t.Error("an approved base does not enter the version")
	}
}

// What an exception lets pass is told with the verdict, so that it is in the decision's record.
func TestAnExceptionIsTold(t *testing.T) {
	doc := full()
	doc.Push.Image.Exceptions = []ExceptionDocument{
		{Check: "setuid", Path: "usr/bin/su", Until: "2027-01-31", Reason: "for a while"},
		{Check: "future", Until: "2027-01-31", Reason: "for a while"},
		{Check: "devices", Until: "2027-01-31", Reason: "for a while"},
	}
	rule := mustCompile(t, doc).Rule("prod/app")
	image := spotless()
	image.Config.Created = now.Add(time.Hour)
	image.Content.Findings = []ImageFinding{{Check: CheckSetuid, Path: "usr/bin/su"}, {Check: CheckDevices, Path: "a"}}
	image.Content.Omitted = map[Check]int{CheckDevices: 2}
	v := rule.JudgePush(subject, image, now)
	consistent(t, v)
	var told []string
	for _, w := range v.Warnings() {
		told = append(told, string(w.Code)+" "+w.Requirement+": "+w.Why)
	}
	want := []string{
		"CHECK_EXCEPTED image setuid: excepted: it has a setuid or setgid file: usr/bin/su",
		"CHECK_EXCEPTED image devices: excepted: it has 3 device files: a, and 2 more",
		"CHECK_EXCEPTED image future: excepted: it says that it was made at 2026-11-24T13:00:00Z, which is yet to come",
	}
	if !v.Admitted() || !slices.Equal(told, want) {
		t.Errorf("got %+v, %q, want %q", v.Reasons(), told, want)
	}
	if v := rule.JudgePush(subject, spotless(), now); len(v.Warnings()) != 0 {
		t.Errorf("nothing was excepted, and told is %+v", v.Warnings())
	}
}

// An exception is looked at again after 90 days, counted from when the policy is loaded.
func TestAnExceptionEndsWithin90Days(t *testing.T) {
	for day, want := range map[string]bool{"2020-01-01": true, "2027-02-22": true, "2027-02-23": false, "9999-12-31": false} {
		image, scan := full(), full()
		image.Push.Image.Exceptions[0].Until = day
		scan.Push.Scan = &ScanDocument{Scanner: "default", Exceptions: []FindingExceptionDocument{{ID: "CVE-1", Until: day, Reason: "for a while"}}}
		for name, doc := range map[string]Document{"image": image, "scan": scan} {
			k := known()
			k.Scanners = map[string]string{"default": "x"}
			if _, err := Compile([]Document{doc}, k); err != nil {
				t.Errorf("%s, %s, without a time: %v", name, day, err)
			}
			k.Now = now
			_, err := Compile([]Document{doc}, k)
			if want != (err == nil) || err != nil && !strings.Contains(err.Error(), "more than 90 days ahead; somebody should look at it again by 2027-02-22") {
				t.Errorf("%s, %s: got %v", name, day, err)
			}
		}
	}
}
