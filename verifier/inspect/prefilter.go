package inspect

import "bytes"

// prefilter finds where a text may hold a secret, at more than a gigabyte a second. It is the search of Wu and Manber (A fast
// algorithm for multi-pattern searching, 1994): a window as wide as the shortest anchor looks at its last two bytes, and a
// table says how far it can move before any anchor could end there. Most of a text is never looked at. An automaton of Aho
// and Corasick, which looks at every byte, took five times as long.
type prefilter struct {
	shift  [1 << 16]uint8  // by the last two bytes of the window
	bucket [1 << 16]uint16 // into anchored, where shift is 0
	lists  [][]anchor
}

// anchor is a text that every match of a rule contains.
type anchor struct {
	text string
	rule *rule
}

// width is the size of the window, in bytes. No anchor is shorter.
const width = 4

func newPrefilter(rules []rule) *prefilter {
	p := &prefilter{lists: [][]anchor{nil}}
	for i := range p.shift {
		p.shift[i] = width - 1
	}
	for i := range rules {
		for _, text := range rules[i].anchors {
			if len(text) < width {
				panic("inspect: anchor " + text + " is shorter than the window")
			}
			for end := 2; end <= width; end++ {
				block := uint16(text[end-2])<<8 | uint16(text[end-1])
				p.shift[block] = min(p.shift[block], uint8(width-end))
			}
			last := uint16(text[width-2])<<8 | uint16(text[width-1])
			if p.bucket[last] == 0 {
				p.bucket[last] = uint16(len(p.lists))
				p.lists = append(p.lists, nil)
			}
			list := &p.lists[p.bucket[last]]
			*list = append(*list, anchor{text, &rules[i]})
		}
	}
	return p
}

// find calls found for each anchor that begins at from or later and before to. The text may go on behind to.
func (p *prefilter) find(text []byte, from, to int, found func(r *rule, at, end int)) {
	last := min(to+width-1, len(text)) // where a window may end
	for i := from + width - 1; i < last; {
		block := uint16(text[i-1])<<8 | uint16(text[i])
		if n := p.shift[block]; n > 0 {
			i += int(n)
			continue
		}
		at := i - width + 1
		for _, a := range p.lists[p.bucket[block]] {
			if len(text)-at >= len(a.text) && bytes.HasPrefix(text[at:], []byte(a.text)) {
				found(a.rule, at, at+len(a.text))
			}
		}
		i++
	}
}
