package gitlab

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// maxMessage bounds, in runes, what a server can put into our messages.
const maxMessage = 500

// message returns what the body of an error answer says, in one line: GitLab's "message" (text, or
// lists of texts by field) or "error", an object store's <Message>, or short plain text. What
// merely repeats the status is left out.
func message(status int, header http.Header, body []byte) string {
	text := strings.TrimSpace(string(body))
	kind := header.Get("Content-Type")
	switch {
	case strings.HasPrefix(text, "{"):
		text = jsonMessage(body)
	case strings.HasPrefix(text, "<?xml"), strings.HasPrefix(text, "<Error"):
		text = xmlMessage(body)
	case strings.HasPrefix(text, "<"), kind != "" && !strings.HasPrefix(kind, "text/plain") && !strings.Contains(kind, "json"):
		return ""
	}
	text = oneLine(text)
	repeated := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if n := len(repeated); len(text) >= n && strings.EqualFold(text[:n], repeated) {
		text = strings.TrimLeft(text[n:], " -:")
	}
	if text == fmt.Sprint(status) {
		return ""
	}
	return text
}

func jsonMessage(body []byte) string {
	var answer struct {
		Message     any    `json:"message"`
		Error       any    `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &answer) != nil && answer.Message == nil && answer.Error == nil {
		return ""
	}
	parts := make([]string, 0, 3)
	for _, part := range []string{flatten(answer.Message, 0), flatten(answer.Error, 0), answer.Description} {
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// flatten writes GitLab's messages as text: {"tags": ["a", "b"], "base": "c"} is "base: c, tags: a; b".
func flatten(value any, depth int) string {
	if depth > 4 {
		return ""
	}
	var parts []string
	switch v := value.(type) {
	case nil:
		return ""
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, key+": "+flatten(v[key], depth+1))
		}
		return strings.Join(parts, ", ")
	case []any:
		for _, item := range v {
			parts = append(parts, flatten(item, depth+1))
		}
		return strings.Join(parts, "; ")
	default:
		return fmt.Sprint(v)
	}
}

func xmlMessage(body []byte) string {
	var answer struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	if xml.Unmarshal(body, &answer) != nil {
		return ""
	}
	return strings.Trim(answer.Code+": "+answer.Message, ": ")
}

// oneLine makes text safe to show: no control characters (a terminal would obey them), bounded.
func oneLine(text string) string {
	runes := make([]rune, 0, min(len(text), maxMessage))
	space := false
	for _, r := range strings.ToValidUTF8(text, "�") {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			space = len(runes) > 0
			continue
		}
		if space {
			runes, space = append(runes, ' '), false
		}
		if runes = append(runes, r); len(runes) >= maxMessage {
			return string(runes) + "…"
		}
	}
	return string(runes)
}
