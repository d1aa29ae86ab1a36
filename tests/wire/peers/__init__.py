"""Stock peers: a client and a server with its payment provider, written from the wire's description alone.

They play the JavaScript `ws402` 0.1.x peers. They share no code with the package, know none of its additions, and read
only the fields that such a peer reads; a test keeps it so.
"""
