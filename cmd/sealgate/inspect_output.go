package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// tree is the inspection for people.
func (i inspection) tree(p painter) *tree {
	t := &tree{text: p.paint(bold, i.Image)}
	i.looked.draw(t, p)
	if len(i.Platforms) > 0 {
		below := t.add("platforms")
		for _, one := range i.Platforms {
			one.looked.draw(below.add(one.Platform), p)
		}
		if i.Omitted > 0 {
			below.add(fmt.Sprintf("and %d more", i.Omitted))
		}
	}
	if len(i.Claims) > 0 {
		below := t.add("claims of the builder, which nobody signed")
		for _, c := range i.Claims {
			words := c.Error
			if words == "" {
				words = strings.Join(c.Predicates, ", ")
			}
			below.add(fmt.Sprintf("about %s: %s", short(c.About), words))
		}
	}
	return t
}

func (l looked) draw(t *tree, p painter) {
	t.row("digest", l.Digest.String())
	what := l.Kind
	if l.ArtifactType != "" {
		what += " of type " + l.ArtifactType
	}
	if l.Layers > 0 {
		layers := "layers"
		if l.Layers == 1 {
			layers = "layer"
		}
		what += fmt.Sprintf(", %d %s, %d bytes compressed", l.Layers, layers, l.Bytes)
	}
	t.row("kind", what)
	if l.Unread != "" {
		t.row("unread", p.paint(yellow, l.Unread))
	}
	if l.User != nil {
		t.row("user", userWords(*l.User, l.UID, p))
	}
	t.row("system", l.System)
	if b := l.Base; b != nil {
		if b.Approved != "" {
			words := b.Approved + ", by its layers"
			if b.Refreshed != "" {
				words += ", approved " + b.Refreshed
			}
			t.row("base", words)
		}
		if claimed := strings.TrimSpace(b.Name + " " + b.Digest); claimed != "" {
			t.row("base", claimed+", it claims")
		}
		if b.FalseClaim != "" {
			t.row("base", p.paint(red, b.FalseClaim))
		}
	}
	if l.Created != nil {
		t.row("created", l.Created.Format(time.RFC3339)+", it claims")
	}
	t.row("ports", strings.Join(l.Ports, ", "))
	t.row("volumes", strings.Join(l.Volumes, ", "))
	if len(l.Labels) > 0 {
		below := t.add("labels")
		for _, name := range sortedNames(l.Labels) {
			below.add(name + "=" + l.Labels[name])
		}
	}
	for _, flaw := range l.Flaws {
		t.row("flaw", p.paint(red, flaw))
	}
	t.row("found", counted(l.Findings, nil))
	for _, index := range l.PartOf {
		t.row("part of", "index "+index.String())
	}
	l.Attached.draw(t, p)
	if l.Attached.empty() && l.Kind != "unknown" {
		t.add("nothing is attached")
	}
}

func userWords(user string, uid *uint32, p painter) string {
	switch {
	case user == "":
		return p.paint(yellow, "root, because it names none")
	case uid != nil:
		return fmt.Sprintf("%s, number %d", user, *uid)
	}
	return user
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
