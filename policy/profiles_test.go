package policy

import (
	"strings"
	"testing"
)

func TestAProfileIsToldByWhatIsInTheImage(t *testing.T) {
	shell, manager := ImageFinding{Check: CheckMinimal, Path: "bin/sh", Kind: Shell}, ImageFinding{Check: CheckMinimal, Path: "usr/bin/apt", Kind: PackageManager}
	system := func(id string, findings ...ImageFinding) Content {
		return Content{System: System{ID: id}, Findings: findings}
	}
	for name, c := range map[string]struct {
		content Content
		fits    string // all profiles that it has, the strictest first
	}{
		"nothing at all":               {system(""), "scratch no_shell no_package_manager"},
		"files of a system alone":      {system("debian"), "distroless no_shell no_package_manager"},
		"a shell":                      {system("debian", shell), "no_package_manager"},
		"a package manager":            {system("debian", manager), "no_shell"},
		"both":                         {system("debian", shell, manager), ""},
		"a shell without a system":     {system("", shell), "no_package_manager"},
		"a manager without a system":   {system("", manager), "no_shell"},
		"alpine":                       {system("alpine", shell, manager), "alpine"},
		"wolfi":                        {system("wolfi", shell, manager), "wolfi"},
		"wolfi by its maker":           {system("chainguard"), "distroless wolfi no_shell no_package_manager"},
		"an id that only looks alike":  {system("Alpine", shell, manager), ""},
		"more than was kept":           {Content{Findings: []ImageFinding{shell}, Omitted: map[Check]int{CheckMinimal: 1}}, ""},
		"more of something else":       {Content{Omitted: map[Check]int{CheckSetuid: 1}}, "scratch no_shell no_package_manager"},
		"a program for who knows what": {system("debian", ImageFinding{Check: CheckMinimal, Path: "bin/x"}), ""},
		"another check's finding":      {system("debian", ImageFinding{Check: CheckSetuid, Path: "bin/sh", Kind: Shell}), "distroless no_shell no_package_manager"},
	} {
		var fits []string
		for _, p := range profiles {
			rule := pushRule(t, ImageDocument{Profile: &ProfileDocument{Any: []string{p.name}}})
			v := rule.JudgePush(subject, Image{Runnable: true, Content: &c.content}, now)
			consistent(t, v)
			if v.Admitted() {
				fits = append(fits, p.name)
			}
		}
		if got := strings.Join(fits, " "); got != c.fits {
			t.Errorf("%s: it is %q, want %q", name, got, c.fits)
		}
	}
}

func TestAProfileIsRefusedWithWhatStandsAgainstIt(t *testing.T) {
	content := Content{System: System{ID: "debian", Version: "13"}, Findings: []ImageFinding{
		{Check: CheckMinimal, Path: "bin/sh", Kind: Shell}, {Check: CheckMinimal, Path: "usr/bin/apt", Kind: PackageManager},
	}}
	for want, any := range map[string][]string{
		"it is none of scratch, distroless: debian, with a shell (bin/sh), with a package manager (usr/bin/apt)": {"scratch", "distroless"},
		"it is not no_shell: debian, with a shell (bin/sh), with a package manager (usr/bin/apt)":                {"no_shell"},
	} {
		v := pushRule(t, ImageDocument{Profile: &ProfileDocument{Any: any}}).JudgePush(subject, Image{Runnable: true, Content: &content}, now)
		if codes(v.Reasons()) != "ANOTHER_PROFILE" || v.Reasons()[0].Why != want {
			t.Errorf("got %+v, want %s", v.Reasons(), want)
		}
	}
}

func TestAProfileThatIsNoneIsAnErrorOfTheDocument(t *testing.T) {
	for want, doc := range map[string]ProfileDocument{
		`.push.image.profile.any[1]: unknown profile "slim"; there are scratch, distroless, wolfi, alpine, no_shell, no_package_manager`: {Any: []string{"alpine", "slim"}},
		".push.image.profile.any: names no profile":                    {},
		`.push.image.profile.on_miss: "refuse" is none of allow, warn`: {Any: []string{"alpine"}, OnMiss: "refuse"},
	} {
		_, err := Compile([]Document{{Name: "a", Repositories: []string{"**"}, Push: &PushDocument{AcceptUnsealed: true, Image: ImageDocument{Profile: &doc}}}}, known())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
