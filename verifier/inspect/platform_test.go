package inspect

import (
	"archive/tar"
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"
)

// elfFor is the beginning of a program for a machine, as an executable file.
func elfFor(name string, machine elf.Machine) entry {
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	if machine == elf.EM_S390 {
		head[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
		binary.BigEndian.PutUint16(head[18:], uint16(machine))
	}
	return with(name, string(head), func(h *tar.Header) { h.Mode = 0o755 })
}

// Which machine an image's programs are for is read from the programs, and which of them it starts from its configuration.
func TestProgramsTellTheirMachine(t *testing.T) {
	amd64, arm64 := elf.EM_X86_64, elf.EM_AARCH64
	for name, c := range map[string]struct {
		config   string // the part of the configuration that says what is started
		layers   [][]entry
		program  string
		programs []string
	}{
		"an entrypoint by its path":             {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", arm64), elfFor("tool", amd64)}}, "arm64", []string{"amd64", "arm64"}},
		"an entrypoint by its name":             {`"Entrypoint": ["app"], "Env": ["PATH=/opt/bin:/usr/bin"]`, [][]entry{{elfFor("opt/bin/app", arm64), elfFor("usr/bin/app", amd64)}}, "arm64", []string{"amd64", "arm64"}},
		"a command by the usual path":           {`"Cmd": ["app", "--flag"]`, [][]entry{{elfFor("usr/local/bin/app", amd64)}}, "amd64", []string{"amd64"}},
		"an entrypoint before a command":        {`"Entrypoint": ["/app"], "Cmd": ["/tool"]`, [][]entry{{elfFor("app", arm64), elfFor("tool", amd64)}}, "arm64", []string{"amd64", "arm64"}},
		"relative to where it is started":       {`"Entrypoint": ["./app"], "WorkingDir": "/srv"`, [][]entry{{elfFor("srv/app", amd64)}}, "amd64", []string{"amd64"}},
		"a program that a later layer replaces": {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", arm64)}, {elfFor("app", amd64)}}, "amd64", []string{"amd64", "arm64"}},
		"a program that is removed":             {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", arm64)}, {file(".wh.app", "")}}, "", []string{"arm64"}},
		"a script":                              {`"Entrypoint": ["/run.sh"]`, [][]entry{{with("run.sh", "#!/bin/sh\n", func(h *tar.Header) { h.Mode = 0o755 }), elfFor("bin/sh", amd64)}}, "", []string{"amd64"}},
		"a script over a program":               {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", arm64)}, {mode("app", 0o755)}}, "", []string{"arm64"}},
		"a link":                                {`"Entrypoint": ["/bin/sh"]`, [][]entry{{link("bin/sh", "busybox"), elfFor("bin/busybox", amd64)}}, "", []string{"amd64"}},
		"a line for the shell":                  {`"Entrypoint": "app"`, [][]entry{{elfFor("app", amd64)}}, "", []string{"amd64"}},
		"nothing":                               {`"User": "1"`, [][]entry{{elfFor("app", amd64)}}, "", []string{"amd64"}},
		"a machine with the other byte first":   {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", elf.EM_S390)}}, "s390x", []string{"s390x"}},
		"a machine that nobody knows":           {`"Entrypoint": ["/app"]`, [][]entry{{elfFor("app", 4711)}}, "ELF machine 4711", []string{"ELF machine 4711"}},
		"libraries and data are no programs":    {`"Entrypoint": ["/app"]`, [][]entry{{file("app", elfFor("app", arm64).content)}}, "", nil},
		"less than a head":                      {`"Entrypoint": ["/app"]`, [][]entry{{with("app", "\x7fELF", func(h *tar.Header) { h.Mode = 0o755 })}}, "", nil},
	} {
		var layers []blob
		for _, entries := range c.layers {
			layers = append(layers, plainly(t, entries...))
		}
		s := store{}
		content := inspectAll(t, s, build(t, s, "{"+c.config+"}", layers...)).Content
		if len(content.Flaws) > 0 || content.Program != c.program || !slices.Equal(content.Programs, c.programs) {
			t.Errorf("%s: got %q and %q, %v, want %q and %q", name, content.Program, content.Programs, content.Flaws, c.program, c.programs)
		}
	}
}

// A history counts the steps that made a layer.
func TestHistoryCountsLayers(t *testing.T) {
	for history, want := range map[string]int{
		`"history": []`: -1,
		`"history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": true}, {"created_by": "c"}]`: 2,
		`"history": [{"empty_layer": true}]`: 0,
		`"os": "linux"`:                      -1,
	} {
		c, err := readConfig([]byte("{" + history + "}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.facts().HistoryLayers; got != want {
			t.Errorf("%s: got %d, want %d", history, got, want)
		}
	}
	c, err := readConfig([]byte(`{"os": "linux", "architecture": "arm64"}`))
	if err != nil || c.facts().OS != "linux" || c.facts().Architecture != "arm64" {
		t.Errorf("got %+v, %v", c, err)
	}
}
