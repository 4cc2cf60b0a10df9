package job

// Class says why an attempt at a callback failed. The list is closed: Classes has all
// of them, docs/callback.md shows it, and nothing else stands in Attempt.Error,
// Callback.LastError or the metric of attempts.
type Class string

// Side says whose affair a class is: who can do something about it.
type Side string

// The sides.
const (
	SideReceiver Side = "receiver" // who is called back
	SideNetwork  Side = "network"  // what is between the two
	SideGateway  Side = "gateway"  // this gateway, or who runs it
	SideCaller   Side = "caller"   // who made the call, or registered the endpoint
)

// The classes. Those of an attempt that got no answer are also outbound's.
const (
	ClassStatus3xx Class = "status_3xx"
	ClassStatus4xx Class = "status_4xx"
	ClassStatus5xx Class = "status_5xx"
	ClassThrottled Class = "throttled"
	ClassGone      Class = "gone"

	ClassDNSNotFound    Class = "dns_not_found"
	ClassDNSFailed      Class = "dns_failed"
	ClassRefused        Class = "refused"
	ClassUnreachable    Class = "unreachable"
	ClassProxy          Class = "proxy"
	ClassEgress         Class = "egress"
	ClassTLSExpired     Class = "tls_expired"
	ClassTLSHost        Class = "tls_wrong_host"
	ClassTLSAuthority   Class = "tls_unknown_authority"
	ClassTLSCertificate Class = "tls_certificate"
	ClassTLSVersion     Class = "tls_version"
	ClassTLSRejected    Class = "tls_rejected"
	ClassTLSFailed      Class = "tls_failed"
	ClassTimeoutDNS     Class = "timeout_dns"
	ClassTimeoutConnect Class = "timeout_connect"
	ClassTimeoutTLS     Class = "timeout_tls"
	ClassTimeoutWrite   Class = "timeout_write"
	ClassTimeoutHeader  Class = "timeout_header"
	ClassReset          Class = "reset"
	ClassClosed         Class = "closed"
	ClassHeaderLimit    Class = "header_limit"
	ClassProtocol       Class = "protocol"

	ClassPolicy     Class = "policy"
	ClassRequest    Class = "request"
	ClassNoEndpoint Class = "no_endpoint"
	ClassUnsigned   Class = "unsigned"
	ClassToken      Class = "token"

	ClassBody        Class = "body"
	ClassCanceled    Class = "canceled"
	ClassInterrupted Class = "interrupted"
	ClassInternal    Class = "internal"
	ClassGaveUp      Class = "gave_up"
)

// ClassInfo explains a class to people.
type ClassInfo struct {
	Class Class
	Side  Side
	Means string // what happened
	Do    string // what to do about it
}

// Classes are all classes, with what they mean and what to do about each.
var Classes = []ClassInfo{
	{ClassStatus5xx, SideReceiver, "the receiver answered with a status of 500 or more: it failed", "look into the receiver's log at the time of the attempt; resend what is dead once it works"},
	{ClassStatus4xx, SideReceiver, "the receiver answered with a status of 400 to 499 but 410 and 429: it refuses the request", "read the answer that is kept with the attempt; most often the path, the credentials or the signing secret are wrong. 415 is not tried again"},
	{ClassStatus3xx, SideReceiver, "the receiver answered with a redirect, which is not followed, or with another status below 200 or of 300 to 399", "register the URL that the redirect leads to"},
	{ClassThrottled, SideReceiver, "the receiver answered 429: it is sent too much", "lower the concurrency of the endpoint, or raise the receiver's limit; `Retry-After` is heeded"},
	{ClassGone, SideReceiver, "the receiver answered 410 Gone: it wants no callbacks any more; dead at once", "register another URL, then resend"},
	{ClassDNSNotFound, SideCaller, "the name in the URL has no address", "correct the name, or its DNS records"},
	{ClassDNSFailed, SideNetwork, "the DNS gave no answer that could be used", "look at the name servers of the receiver's domain, and at the gateway's resolver where other names fail, too"},
	{ClassTimeoutDNS, SideNetwork, "the DNS gave no answer in time", "look at the name servers of the receiver's domain, and at the gateway's resolver where other names fail, too"},
	{ClassRefused, SideReceiver, "the machine is there, and nothing listens at the port", "start the receiver, or correct the port"},
	{ClassUnreachable, SideNetwork, "no connection to any address of the receiver came about", "look at routes and firewalls between the gateway and the receiver"},
	{ClassTimeoutConnect, SideNetwork, "no address of the receiver took the connection in time; most often a firewall drops it", "let the gateway's addresses through the receiver's firewall, or start the receiver"},
	{ClassProxy, SideGateway, "the egress proxy could not be reached, or refused to connect", "look at the proxy's log, and at its list of what it lets through"},
	{ClassEgress, SideGateway, "no connection could be made from the gateway's machine: by its network, its source address or its limits", "look at `outbound.source`, at the machine's routes and at its limit of open files"},
	{ClassTLSExpired, SideReceiver, "the receiver's certificate has expired, or is not valid yet", "renew the certificate"},
	{ClassTLSHost, SideReceiver, "the receiver's certificate is for another host", "get a certificate for the name in the URL, or use the name that the certificate has"},
	{ClassTLSAuthority, SideReceiver, "the receiver's certificate is signed by an authority that is not known here", "let the receiver send its intermediate certificates, or add the authority to the gateway's"},
	{ClassTLSCertificate, SideReceiver, "the receiver's certificate is not valid for another reason", "replace the certificate"},
	{ClassTLSVersion, SideReceiver, "the receiver speaks no version of TLS that is allowed here", "let the receiver speak TLS 1.2 or later"},
	{ClassTLSRejected, SideReceiver, "the receiver ended the TLS connection: it does not accept us, or our certificate", "look at which client certificates the receiver accepts"},
	{ClassTLSFailed, SideReceiver, "the TLS handshake failed; what answers may not speak TLS at all", "see whether the port is that of https"},
	{ClassTimeoutTLS, SideReceiver, "the receiver did not end the TLS handshake in time", "see whether the receiver is overloaded, or the port is not that of https"},
	{ClassTimeoutWrite, SideReceiver, "the receiver did not take the request in time", "see why the receiver reads so slowly"},
	{ClassTimeoutHeader, SideReceiver, "the header of the answer was not whole in time", "answer first and work later, or raise `callback.timeout`"},
	{ClassReset, SideReceiver, "the connection was reset before the answer's header was whole", "look for a crash or a restart of the receiver, or a limit of what stands before it"},
	{ClassClosed, SideReceiver, "the connection was closed before the answer's header was whole", "look for a crash or a restart of the receiver, or a limit of what stands before it"},
	{ClassHeaderLimit, SideReceiver, "the answer's header is larger than 64 KiB", "answer with a smaller header"},
	{ClassProtocol, SideReceiver, "what came back is not HTTP/1.1", "see what listens at the port"},
	{ClassPolicy, SideCaller, "the outbound policy forbids the address, or the policy of the app or the operation the URL; nothing was sent there; dead at once", "use a URL that is permitted (`ringback check --url`), or have the policy changed, then resend"},
	{ClassRequest, SideCaller, "the URL or a header cannot be written as HTTP; dead at once", "correct the URL, or the headers of the endpoint or the operation"},
	{ClassNoEndpoint, SideCaller, "the endpoint was deleted; dead at once", "register an endpoint of that name, then resend"},
	{ClassUnsigned, SideCaller, "the endpoint has changed to `v1a` since, which cannot sign a large result; dead at once", "give the endpoint another signature, then resend"},
	{ClassToken, SideCaller, "the endpoint's OAuth2 server gave no token; nothing was sent to the receiver", "correct the endpoint's credentials, or look at that server's log"},
	{ClassBody, SideGateway, "the callback's own content could not be read", "look into the gateway's log, and at its folder of bodies"},
	{ClassCanceled, SideGateway, "the gateway stopped during the attempt; whether the receiver has it is not known", "nothing: it is sent again"},
	{ClassInterrupted, SideGateway, "the gateway crashed during the attempt; whether the receiver has it is not known", "nothing: it is sent again; where it happens again, look into the gateway's log"},
	{ClassInternal, SideGateway, "the gateway itself could not make the attempt, such as for a secret that cannot be opened, until the callback's time was over", "look into the gateway's log, then resend"},
	{ClassGaveUp, SideReceiver, "the callback's time was over while it waited, before an attempt was made", "look at what it waited for (the lane's breaker, its rate), then resend"},
}

// Info explains the class; false for one that is none.
func (c Class) Info() (ClassInfo, bool) {
	for _, info := range Classes {
		if info.Class == c {
			return info, true
		}
	}
	return ClassInfo{Class: c}, false
}

// StatusClass is the class of an answer that is no success.
func StatusClass(status int) Class {
	switch {
	case status == 410:
		return ClassGone
	case status == 429:
		return ClassThrottled
	case status >= 500:
		return ClassStatus5xx
	case status >= 400:
		return ClassStatus4xx
	}
	return ClassStatus3xx
}
