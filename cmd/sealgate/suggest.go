package main

import (
	"maps"
	"slices"
	"strings"
)

// suggest names the key that was probably meant, or all that there are.
func suggest[V any](key string, known map[string]V) string {
	best, distance := "", len(key)/3+2
	for _, candidate := range sortedKeys(known) {
		if d := edits(strings.ToLower(key), candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(sortedKeys(known), ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// edits is the Levenshtein distance of two words, of which only the first 64 bytes count.
func edits(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
