package egress

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestWhichAddressesArePermitted(t *testing.T) {
	filter, err := New([]string{"127.0.0.2", "10.9.0.0/16", "fd00:ec2::5/64"}, []string{"10.0.0.0/8", "127.0.0.2/32"})
	if err != nil {
		t.Fatal(err)
	}
	for address, permitted := range map[string]bool{
		"93.184.216.34": true, "192.168.1.1": true, "2606:4700::1111": true,
		"127.0.0.1": false, "0.0.0.0": false, "169.254.169.254": false, "100.100.100.200": false,
		"168.63.129.16": false, "224.0.0.1": false, "255.255.255.255": false, "::1": false, "::": false,
		"fe80::1": false, "fe80::1%eth0": false, "fd00:ec2::254": true, "fd00:ec2:1::254": false,
		"fd00:ec2:0:1::254": false, "2002:7f00:1::": false, "64:ff9b:1::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:93.184.216.34": true,
		"64:ff9b::7f00:1": false, "64:ff9b::5db8:d822": true,
		"10.1.2.3": false, "10.9.2.3": true, // the longest prefix decides
		"127.0.0.2": false, // denied before allowed, of the same length
	} {
		if got := filter.Permits(netip.MustParseAddr(address)); got != permitted {
			t.Errorf("%s: %v", address, got)
		}
	}
	if _, err := New([]string{"nonsense"}, nil); err == nil {
		t.Error("nonsense is a network")
	}
}

func TestTheAddressOfAConnectionDecides(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	for _, each := range []struct {
		allowed []string
		refused bool
	}{{nil, true}, {[]string{"127.0.0.0/8"}, false}} {
		filter, err := New(each.allowed, nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := NewTransport(filter, time.Second)
		defer transport.CloseIdleConnections()
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		response, err := transport.RoundTrip(request)
		if errors.Is(err, ErrForbidden) != each.refused || (err == nil) == each.refused {
			t.Error(each.allowed, err)
		}
		if response != nil {
			_ = response.Body.Close()
		}
	}
}
