package storage

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Keys of a Secret.
const (
	allowedPrefix  = "allowedPrefix"
	allowPlainHTTP = "allowPlainHTTP"
	endpointKey    = "AWS_ENDPOINT_URL"
	regionKey      = "AWS_REGION"
	accessKey      = "AWS_ACCESS_KEY_ID"
	secretKey      = "AWS_SECRET_ACCESS_KEY"
	sessionKey     = "AWS_SESSION_TOKEN"
	httpToken      = "steno-http-token"
	httpUsername   = "steno-http-username"
	httpPassword   = "steno-http-password"
)

var (
	ports     = map[string]int{"http": 80, "https": 443}
	authority = regexp.MustCompile(`^([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$`)
	bucket    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]*$`)
)

// location is where a request goes: origin and path, the latter decoded and in segments.
type location struct {
	scheme, host string
	port         int
	segments     []string
}

// below tells whether this is at, or under, a prefix: of the same origin, and segment by segment in its path.
func (where location) below(prefix location) bool {
	if where.scheme != prefix.scheme || where.host != prefix.host || where.port != prefix.port ||
		len(where.segments) < len(prefix.segments) {
		return false
	}
	for index, segment := range prefix.segments {
		if where.segments[index] != segment {
			return false
		}
	}
	return true
}

// webLocation returns where an http or https URL points; false if libraries or servers could disagree about it.
func webLocation(url string) (location, bool) {
	scheme, rest, _ := strings.Cut(url, "://")
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	host, path, _ := strings.Cut(rest, "/")
	found := authority.FindStringSubmatch(host)
	scheme = strings.ToLower(scheme)
	port, known := ports[scheme]
	if !known || found == nil || !printable(url) || strings.ContainsAny(url, "\\ ") {
		return location{}, false
	}
	if found[2] != "" {
		port, _ = strconv.Atoi(found[2])
	}
	segments := segmentsOf(path)
	for index, part := range segments {
		segments[index] = unquote(part)
		if !printable(segments[index]) || strings.ContainsAny(segments[index], `/\%`) {
			return location{}, false
		}
	}
	return location{scheme, strings.ToLower(found[1]), port, segments}, certain(segments)
}

// s3Location returns the location of an object, or of a prefix of keys; false if they cannot be those of S3.
func s3Location(name, key string) (location, bool) {
	segments := segmentsOf(key)
	return location{"s3", name, 0, segments}, bucket.MatchString(name) && certain(segments)
}

// scope says where credentials may be sent: what the Secret's maker decided, as users who name a Secret in a resource
// choose the server as well, and may not be allowed to read the Secret.
type scope struct {
	prefixes  []location
	endpoint  string
	plainHTTP bool
}

func scopeOf(values map[string]string) (scope, error) {
	made := scope{endpoint: values[endpointKey]}
	for _, entry := range strings.Fields(values[allowedPrefix]) {
		found, ok := webLocation(entry)
		if rest, isS3 := strings.CutPrefix(entry, "s3://"); isS3 {
			name, key, _ := strings.Cut(rest, "/")
			found, ok = s3Location(name, key)
		}
		if !ok {
			return scope{}, errors.New(
				"allowedPrefix has an entry that is not a URL such as https://host/path or s3://bucket/prefix")
		}
		made.prefixes = append(made.prefixes, found)
	}
	made.plainHTTP = strings.ToLower(strings.TrimSpace(values[allowPlainHTTP])) == "true"
	return made, nil
}

// refuseURL returns why the credentials may not be sent to a URL of the web; empty: they may.
func (of scope) refuseURL(url string) string {
	where, ok := webLocation(url)
	if !ok {
		return "its URL cannot be compared with allowedPrefix for certain"
	}
	for _, prefix := range of.prefixes {
		if where.below(prefix) {
			return of.refuseScheme(where)
		}
	}
	return "it is not below a prefix that the Secret's allowedPrefix lists"
}

// refuseObject returns why the credentials may not be sent for an object, or a prefix of keys; empty: they may.
func (of scope) refuseObject(endpoint, region string, target location) string {
	if endpoint == "" {
		endpoint = awsEndpoint(region)
	}
	endpoint = strings.TrimRight(endpoint, "/")
	server, ok := webLocation(endpoint)
	if !ok || strings.ContainsAny(endpoint, "?#") {
		return "its endpoint is not a plain URL"
	}
	ownURL := of.endpoint
	if ownURL == "" {
		ownURL = awsEndpoint(region)
	}
	own, isURL := webLocation(strings.TrimRight(ownURL, "/"))
	isOwn := isURL && server.below(own)
	path := server
	path.segments = append(append(append([]string{}, server.segments...), target.host), target.segments...)
	listed := false
	for _, prefix := range of.prefixes {
		listed = listed || path.below(prefix) || (isOwn && target.below(prefix))
	}
	if !listed && len(of.prefixes) > 0 {
		return "it is not below a prefix that the Secret's allowedPrefix lists"
	}
	if !listed && !isOwn {
		return "the Secret names this endpoint neither in allowedPrefix nor in AWS_ENDPOINT_URL"
	}
	return of.refuseScheme(server)
}

func (of scope) refuseScheme(where location) string {
	if where.scheme == "http" && !of.plainHTTP {
		return `that is plain HTTP, which the Secret does not permit (allowPlainHTTP: "true")`
	}
	return ""
}

func awsEndpoint(region string) string { return "https://s3." + region + ".amazonaws.com" }

// segmentsOf returns the path's parts; a slash at the end does not make another one.
func segmentsOf(path string) []string {
	parts := strings.Split(path, "/")
	if parts[len(parts)-1] == "" {
		return parts[:len(parts)-1]
	}
	return parts
}

func certain(segments []string) bool {
	for _, part := range segments {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func printable(text string) bool {
	for _, char := range text {
		if !unicode.IsPrint(char) {
			return false
		}
	}
	return utf8.ValidString(text)
}

// unquote decodes what is escaped by %; what is not two hexadecimal digits stays as it is.
func unquote(text string) string {
	var made []byte
	for index := 0; index < len(text); index++ {
		if text[index] == '%' && index+2 < len(text) {
			if value, err := strconv.ParseUint(text[index+1:index+3], 16, 8); err == nil {
				made = append(made, byte(value))
				index += 2
				continue
			}
		}
		made = append(made, text[index])
	}
	return strings.ToValidUTF8(string(made), "\uFFFD")
}
