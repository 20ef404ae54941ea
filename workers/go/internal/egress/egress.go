// Package egress decides which addresses may be connected to, as steno_api.egress does: by the address that a
// connection goes to, not by the name, whose answer may change. Of the networks that hold an address, the one with the
// longest prefix decides, as in a routing table.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Denied is what messages call an address that may not be connected to.
const Denied = "link-local, loopback, or on a network that is denied"

// ErrForbidden is the error of a connection to such an address.
var ErrForbidden = errors.New("the address may not be connected to")

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

var builtIn = []string{
	"0.0.0.0/8",              // unspecified: Linux connects to itself
	"127.0.0.0/8",            // loopback
	"169.254.0.0/16",         // link-local, with nearly every cloud's metadata service
	"192.0.0.0/24",           // IETF protocol assignments; Oracle's metadata service
	"100.100.100.200/32",     // metadata of Alibaba Cloud
	"168.63.129.16/32",       // Azure's agent
	"224.0.0.0/4",            // multicast
	"240.0.0.0/4",            // reserved, broadcast
	"::/96",                  // unspecified, loopback, IPv4-compatible
	"64:ff9b:1::/48",         // NAT64 of local use: which IPv4 address is meant depends on the network
	"2001::/32",              // Teredo
	"2002::/16",              // 6to4
	"fd00:ec2::/32",          // metadata, pod identity and resolver of AWS
	"fd20:ce::254/128",       // metadata of Google Cloud
	"fd00:c1::a9fe:a9fe/128", // metadata of Oracle Cloud
	"fe80::/10",              // link-local
	"ff00::/8",               // multicast
}

// rank of networks with the same prefix.
type rank int

const (
	ofBuiltIn rank = iota
	ofAllowed
	ofDenied
)

type rule struct {
	network netip.Prefix
	rank    rank
}

// Filter decides which addresses may be connected to.
type Filter struct{ rules []rule }

// New parses the rules beside the built-in ones; an error names what is not a network.
func New(allowed, denied []string) (*Filter, error) {
	filter := &Filter{}
	for _, each := range []struct {
		texts []string
		rank  rank
	}{{builtIn, ofBuiltIn}, {allowed, ofAllowed}, {denied, ofDenied}} {
		for _, text := range each.texts {
			network, err := parse(text)
			if err != nil {
				return nil, fmt.Errorf("%q is not a network", text)
			}
			filter.rules = append(filter.rules, rule{network, each.rank})
		}
	}
	return filter, nil
}

func parse(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return address.Prefix(address.BitLen())
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

// Permits tells whether an address may be connected to. An IPv4 address within an IPv6 one, mapped or translated
// (NAT64), must be permitted, too.
func (filter *Filter) Permits(address netip.Addr) bool {
	address = address.WithZone("")
	if address.Is4In6() { // the kernel connects to it over IPv4
		address = address.Unmap()
	}
	if !filter.permits(address) {
		return false
	}
	if nat64.Contains(address) {
		bytes := address.As16()
		return filter.permits(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	return true
}

func (filter *Filter) permits(address netip.Addr) bool {
	bits, decided := -1, ofAllowed
	for _, each := range filter.rules {
		if !each.network.Contains(address) {
			continue
		}
		if each.network.Bits() > bits || (each.network.Bits() == bits && each.rank > decided) {
			bits, decided = each.network.Bits(), each.rank
		}
	}
	return decided == ofAllowed
}

// control is called by the dialler with each address that it is about to connect to.
func (filter *Filter) control(_, address string, _ syscall.RawConn) error {
	found, err := netip.ParseAddrPort(address)
	if err != nil || !filter.Permits(found.Addr()) {
		return ErrForbidden
	}
	return nil
}

// Transport connects to permitted addresses, or through the proxy that the environment names for a host. It follows no
// redirect.
type Transport struct {
	filter          *Filter
	direct, proxied *http.Transport
}

// NewTransport returns a transport whose servers have to begin their answer within a time.
func NewTransport(filter *Filter, answer time.Duration) *Transport {
	const connect = 10 * time.Second
	own := &net.Dialer{Timeout: connect, Control: filter.control}
	made := func(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
		return &http.Transport{
			DialContext: dial, TLSHandshakeTimeout: connect, ResponseHeaderTimeout: answer, DisableCompression: true,
			ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
		}
	}
	proxied := made((&net.Dialer{Timeout: connect}).DialContext)
	proxied.Proxy = http.ProxyFromEnvironment
	return &Transport{filter, made(own.DialContext), proxied}
}

// RoundTrip sends a request.
func (transport *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	proxy, err := http.ProxyFromEnvironment(request)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return transport.direct.RoundTrip(request)
	}
	if err := transport.checkProxied(request.Context(), request.URL.Hostname()); err != nil {
		return nil, err
	}
	return transport.proxied.RoundTrip(request)
}

// checkProxied refuses a host, one of whose addresses is denied, before a proxy is asked for it. A name that does not
// resolve here passes: the proxy resolves it, and decides.
func (transport *Transport) checkProxied(ctx context.Context, host string) error {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, address := range found {
		if !transport.filter.Permits(address) {
			return ErrForbidden
		}
	}
	return nil
}

// CloseIdleConnections closes what is not used now.
func (transport *Transport) CloseIdleConnections() {
	transport.direct.CloseIdleConnections()
	transport.proxied.CloseIdleConnections()
}
