package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// common are identifiers of https://spdx.org/licenses that packages name themselves by most. Anything else stays in the
// package's own words: a document with an identifier that is none would not be valid.
var common = strings.Fields(`
		0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-2.0 BSD-1-Clause BSD-2-Clause
		BSD-3-Clause BSD-4-Clause BSL-1.0 BlueOak-1.0.0 CC-BY-3.0 CC-BY-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 EPL-1.0 EPL-2.0 FTL GPL-1.0-only
		GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ISC LGPL-2.0-only LGPL-2.0-or-later
		LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng MIT MIT-0 MPL-1.1 MPL-2.0 NCSA OFL-1.1 OLDAP-2.8 OpenSSL
		PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Ruby SSH-OpenSSH Unicode-DFS-2016 Unlicense Vim W3C WTFPL X11 Zlib ZPL-2.1 bzip2-1.0.6
		curl blessing`)

// isExpression reports that a licence is an expression of common identifiers.
func isExpression(text string) bool {
	words := strings.Fields(text)
	for i, word := range words {
		if operator := word == "AND" || word == "OR"; operator == (i%2 == 0) || !operator && !slices.Contains(common, word) {
			return false
		}
	}
	return len(words)%2 == 1
}

// referenceOf is a licence's name in a document where it is in the package's own words.
func referenceOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "LicenseRef-" + hex.EncodeToString(sum[:8])
}
