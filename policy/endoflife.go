package policy

import (
	"fmt"
	"strings"
	"time"
)

// endOfLife has the last day on which releases get security fixes from their makers for free, by ID and VERSION_ID of
// os-release. Checked on 2026-11-24:
//   - debian from 9 and ubuntu from 22.04 against Debian's package distro-info-data 0.58+deb12u6; for debian the end of long
//     term support
//   - alpine from 3.20 against https://alpinelinux.org/releases/
//
// BUG(policy): The other rows follow what their makers announced, and nobody has held them against a source since.
//
// What is not here has not ended, as far as anybody here knows. A release's own SUPPORT_END counts too.
var endOfLife = map[string]map[string]string{
	"debian": {"7": "2018-05-31", "8": "2020-06-30", "9": "2022-06-30", "10": "2024-06-30", "11": "2026-08-31", "12": "2028-06-30", "13": "2030-06-30"},
	"ubuntu": {
		"14.04": "2019-04-25", "16.04": "2021-04-30", "18.04": "2023-05-31", "20.04": "2025-05-31", "22.04": "2027-06-01", "22.10": "2023-07-20",
		"23.04": "2024-01-25", "23.10": "2024-07-11", "24.04": "2029-05-31", "24.10": "2025-07-10", "25.04": "2026-01-15", "25.10": "2026-07-09",
		"26.04": "2031-05-29",
	},
	"alpine": {
		"3.10": "2021-05-01", "3.11": "2021-11-01", "3.12": "2022-05-01", "3.13": "2022-11-01", "3.14": "2023-05-01", "3.15": "2023-11-01",
		"3.16": "2024-05-23", "3.17": "2024-11-22", "3.18": "2025-05-09", "3.19": "2025-11-01", "3.20": "2026-04-01", "3.21": "2026-11-01",
		"3.22": "2027-05-01", "3.23": "2027-11-01",
	},
	"rhel":          {"6": "2020-11-30", "7": "2024-06-30", "8": "2029-05-31", "9": "2032-05-31"},
	"centos":        {"6": "2020-11-30", "7": "2024-06-30", "8": "2021-12-31"},
	"rocky":         {"8": "2029-05-31", "9": "2032-05-31"},
	"almalinux":     {"8": "2029-05-31", "9": "2032-05-31"},
	"fedora":        {"38": "2024-05-21", "39": "2024-11-26", "40": "2025-05-13", "41": "2025-12-15", "42": "2026-05-13"},
	"amzn":          {"2018.03": "2023-12-31", "2": "2026-06-30"},
	"opensuse-leap": {"15.3": "2022-12-31", "15.4": "2023-12-07", "15.5": "2024-12-31", "15.6": "2026-04-30"},
}

// whyEnded is empty while a system is supported, or nobody here knows when it is not.
func whyEnded(system System, at time.Time) string {
	last := system.SupportEnd
	if day := lastDay(system); day != "" {
		end, err := time.Parse(time.DateOnly, day)
		if err != nil {
			panic("policy: a day in a table of constants: " + err.Error())
		}
		if last.IsZero() || end.Before(last) { // an image cannot prolong its own life
			last = end
		}
	}
	if last.IsZero() || at.Before(last.AddDate(0, 0, 1)) {
		return ""
	}
	return fmt.Sprintf("its system %s %s has had no security fixes since %s",
		Printable(system.ID), Printable(system.Version), last.Format(time.DateOnly))
}

// lastDay looks a release up: 3.19.1 is of 3.19, and 8.9 of 8.
func lastDay(system System) string {
	releases := endOfLife[system.ID]
	for version := system.Version; version != ""; {
		if day, ok := releases[version]; ok {
			return day
		}
		dot := strings.LastIndexByte(version, '.')
		if dot < 0 {
			break
		}
		version = version[:dot]
	}
	return ""
}
